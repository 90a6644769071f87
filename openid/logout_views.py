"""RP-initiated logout: a client sends the browser here, and the portal signs the user out everywhere."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import logout as end_session
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from accounts.destinations import redirect_target
from accounts.requests import sign_in_of_request
from accounts.second_factor.middleware import asks_for_factor
from accounts.upstreams import provider_sign_out
from authgate.models import SignIn
from openid import keys
from openid.client_requests import client_named, form_octets, query_octets
from openid.models import Client, Grant
from openid.protocol import logout as logout_requests
from openid.protocol import parameters, redirect_uris, signed
from openid.protocol.errors import ProtocolError
from openid.protocol.logout import LogoutRequest

SALT = "openid logout"
ASKED_FOR = 900
"""Seconds that the user has to answer the question."""


@asks_for_factor
@csrf_exempt
@never_cache
@require_http_methods(["GET", "POST"])
def logout(request: HttpRequest) -> HttpResponse:
    """Sign out at once if the hint belongs to this session, otherwise ask first (RPL, section 2)."""
    try:
        octets = form_octets(request) if request.method == "POST" else query_octets(request)
        asked = logout_requests.parse(parameters.parse(octets))
    except ProtocolError as error:
        return render(request, "openid/broken.html", {"reason": error.description}, status=400)
    claims = signed.claims_of_hint(asked.id_token_hint, keys.public_keys(), settings.IKD_PORTAL_ORIGIN)
    client = _client_of(asked, claims["aud"] if claims else "")
    then = _target(asked, client)
    sign_in = sign_in_of_request(request)
    if sign_in is None:
        return _onward(then)
    if claims and client and _is_of_this_session(client, claims["sid"], sign_in):
        return _sign_out(request, sign_in, then)
    sealed = signing.dumps([then, sign_in.pk], salt=SALT)
    context = {"sealed": sealed, "application": client.application.name if client else ""}
    return render(request, "openid/logout.html", context)


@asks_for_factor
@never_cache
@require_POST
def logout_confirmed(request: HttpRequest) -> HttpResponse:
    """Sign out after the user confirmed."""
    sign_in = sign_in_of_request(request)
    try:
        then, asked_of = signing.loads(request.POST.get("request", ""), salt=SALT, max_age=ASKED_FOR)
    except (signing.BadSignature, ValueError, TypeError):
        problem = "the question has expired, or is not from the portal"
        return render(request, "openid/broken.html", {"reason": problem}, status=400)
    if sign_in is None:
        return _onward(then)
    if sign_in.pk != asked_of:
        return _redirect(f"{settings.IKD_PORTAL_ORIGIN}{reverse('account_logout')}")
    return _sign_out(request, sign_in, then)


def _client_of(asked: LogoutRequest, audience: object) -> Client | None:
    """Return the client that sent the browser. None if it is unknown, or if hint and client_id differ."""
    if asked.client_id and audience and asked.client_id != audience:
        return None
    name = asked.client_id or audience
    return client_named(name) if isinstance(name, str) and name else None


def _target(asked: LogoutRequest, client: Client | None) -> str:
    """Return where the browser goes afterwards; "" unless the URI is registered (RPL, section 3)."""
    uri = asked.redirect_uri
    if client is None or not uri or uri not in client.post_logout_uris.split():
        return ""
    return redirect_uris.with_parameters(uri, {"state": asked.state}) if asked.state else uri


def _is_of_this_session(client: Client, sid: str, sign_in: SignIn) -> bool:
    return Grant.objects.filter(client=client, sid=sid, sign_in=sign_in).exists()


def _sign_out(request: HttpRequest, sign_in: SignIn, then: str) -> HttpResponse:
    """End the sign-in. If it came from an upstream provider, sign out there too."""
    end_session(request)
    on = provider_sign_out.sign_out_url(sign_in.pk, redirect_target(then))
    return provider_sign_out.remember_sign_out(_redirect(on) if on else _onward(then))


def _onward(then: str) -> HttpResponse:
    return _redirect(then or f"{settings.IKD_PORTAL_ORIGIN}{reverse('signed_out')}")


def _redirect(url: str) -> HttpResponse:
    response = HttpResponse(status=303)
    response["Location"] = url
    response["Referrer-Policy"] = "no-referrer"
    return response
