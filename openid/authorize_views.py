"""The authorization endpoint, and the page on which users consent."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from accounts.requests import Request, SignedInRequest, is_signed_in
from accounts.second_factor.middleware import asks_for_factor
from authgate.audit import record
from authgate.decision.rules import Verdict
from authgate.decision.target import Target
from authgate.endpoints.portal import refuse
from authgate.factor_policy import lacks_factor, step_up_page
from authgate.peer import client_address
from authgate.redirect_targets import LONGEST
from openid import client_notes, grants, keys, policy, proof, usage
from openid import consents as consents_of
from openid.client_requests import client_named, form_octets, query_octets
from openid.models import Client, ClientTrouble, Consent
from openid.policy import Ruling
from openid.protocol import authorization, parameters, signed
from openid.protocol.authorization import AuthorizationRequest, ClientFacts, Place
from openid.protocol.errors import AuthorizationError, Unredirectable
from openid.protocol.parameters import Parameters, Unreadable

CONSENT_SALT = "openid consent"
CONSENT_WITHIN = 900
"""Seconds that the user has to answer the question."""

_QUERY = re.compile(rb"[\x21-\x7e]*")


class RedirectToPage(Exception):
    """Send the browser to a page of the portal first. The browser returns here afterwards."""

    def __init__(self, page: str, back: str) -> None:
        super().__init__(page)
        self.url = f"{page}?{urlencode({'next': back})}"
        if len(back) > LONGEST:
            raise AuthorizationError("invalid_request", "the request is too long")


class ShowPage(Exception):
    """Show the user a page instead of answering the client."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__()
        self.response = response


@asks_for_factor
@csrf_exempt
@never_cache
@require_http_methods(["GET", "POST"])
def authorize(request: Request) -> HttpResponse:
    """Answer an authorization request (Core, section 3.1.2).

    A POST from another site carries no cookies. It is redirected to the same request as GET, which does.
    """
    try:
        if request.method == "POST":
            return _as_get(form_octets(request))
        found = parameters.parse(query_octets(request))
        client, place = _client_and_place(found)
    except Unreadable as error:
        return _broken(request, error.description)
    except Unredirectable as error:
        return _broken(request, error.reason)
    return _answered(request, client, place, found)


def _as_get(form: bytes) -> HttpResponse:
    if not _QUERY.fullmatch(form):
        raise Unreadable("the parameters cannot be read")
    url = f"{reverse('openid_authorize')}?{form.decode('ascii')}"
    return HttpResponseRedirect(url, status=303)


def _client_and_place(found: Parameters) -> tuple[Client, Place]:
    """Return the client and the redirect target. Raises Unredirectable."""
    client = client_named(found.get("client_id"))
    if client is None:
        raise Unredirectable("the application is unknown or disabled")
    try:
        return client, authorization.place_of(found, facts_of(client))
    except Unredirectable:
        uri = client_notes.without_query(found.get("redirect_uri"))
        client_notes.note_trouble(client.pk, ClientTrouble.Kind.REDIRECT_URI, uri)
        raise


def facts_of(client: Client) -> ClientFacts:
    return ClientFacts(
        client.client_id,
        tuple(client.redirect_uris.split()),
        client.is_public,
        frozenset(client.scopes.split()),
    )


REASONS = (
    gettext_noop("the application is unknown or disabled"),
    gettext_noop("the request names no redirect URI, or several"),
    gettext_noop("the redirect URI is not registered for the application"),
    gettext_noop("the parameters cannot be read"),
    gettext_noop("a parameter has control characters"),
    gettext_noop("the request is too long"),
    gettext_noop("the request is not a form, or is too long"),
    gettext_noop("the request is incomplete"),
    gettext_noop("the question has expired, or is not from the portal"),
)
"""All reasons that the page of a broken request can show, listed for translators."""


def _broken(request: Request, reason: str) -> HttpResponse:
    return render(request, "openid/broken.html", {"reason": gettext(reason)}, status=400)


def _answered(
    request: Request, client: Client, place: Place, found: Parameters, *, consents: bool = False
) -> HttpResponse:
    """Return the redirect to the client, or to the page that the user has to pass first."""
    issuer = settings.IKD_PORTAL_ORIGIN
    try:
        asked = _parsed(client, place, found)
        code = _code(request, client, asked, found, consents=consents)
        url = authorization.answer_url(place, issuer, code=code)
    except AuthorizationError as error:
        url = authorization.answer_url(place, issuer, error=error.error, error_description=error.description)
    except RedirectToPage as page:
        return _redirect(request, page.url)
    except ShowPage as shown:
        return shown.response
    return _redirect(request, url)


def _parsed(client: Client, place: Place, found: Parameters) -> AuthorizationRequest:
    """Return the request. Raises AuthorizationError, after noting the error for administrators."""
    try:
        return authorization.parse(found, facts_of(client), place)
    except AuthorizationError as error:
        client_notes.note_trouble(client.pk, ClientTrouble.Kind.REQUEST, error.description)
        raise


def _redirect(request: Request, url: str) -> HttpResponse:
    """Return a redirect to any registered scheme. It never repeats a form (RFC 9700, section 4.12)."""
    response = HttpResponse(status=303 if request.method == "POST" else 302)
    response["Location"] = url
    response["Referrer-Policy"] = "no-referrer"
    return response


# ---- step by step -----------------------------------------------------------------------------------------


def _code(
    request: Request, client: Client, asked: AuthorizationRequest, found: Parameters, *, consents: bool
) -> str:
    """Return a code. Raises AuthorizationError, or RedirectToPage or ShowPage if another page comes first."""
    here = f"{reverse('openid_authorize')}?{urlencode(found.values)}"
    hinted = _hinted_subject(asked)
    if not is_signed_in(request):
        _require_interaction(asked, "login_required")
        raise RedirectToPage(reverse(settings.LOGIN_URL), proof.ask(request, client, found))
    if hinted not in ("", str(request.user.uuid)):
        raise AuthorizationError("login_required", "somebody else is signed in")
    _require_fresh_proof(request, client, asked, found)
    if lacks_factor(request.sign_in):
        _require_interaction(asked, "interaction_required")
        raise RedirectToPage(reverse("second_factor"), here)
    ruling = _require_access(request, client, asked, here)
    _require_acr(asked, ruling, here)
    scopes = _require_consent(request, client, asked, found, consents=consents)
    return _granted(request, client, asked, scopes, ruling)


def _require_interaction(asked: AuthorizationRequest, error: str) -> None:
    """Raise AuthorizationError if the user must not be asked anything."""
    if asked.is_silent:
        raise AuthorizationError(error, "the user has to be asked")


def _hinted_subject(asked: AuthorizationRequest) -> str:
    """Return the subject in id_token_hint; "" without a hint. Raises AuthorizationError."""
    if not asked.id_token_hint:
        return ""
    issuer = settings.IKD_PORTAL_ORIGIN
    claims = signed.claims_of_hint(asked.id_token_hint, keys.public_keys(), issuer)
    if claims is None:
        raise AuthorizationError("invalid_request", "id_token_hint is no ID token of this provider")
    return str(claims["sub"])


def _require_fresh_proof(
    request: SignedInRequest, client: Client, asked: AuthorizationRequest, found: Parameters
) -> None:
    if proof.is_fresh(request, client, asked, found):
        return
    _require_interaction(asked, "login_required")
    page = proof.page_of(request.user)
    if not page:
        raise AuthorizationError("login_required", "the user has no way to prove again who they are")
    raise RedirectToPage(page, proof.ask(request, client, found))


def _require_access(
    request: SignedInRequest, client: Client, asked: AuthorizationRequest, here: str
) -> Ruling:
    """Return the rules' decision to allow access. Raises AuthorizationError, RedirectToPage or ShowPage."""
    ruling = policy.decide(client, request.user, request.sign_in, client_address(request))
    if not ruling.is_allowed:
        usage.count(ruling)
    if ruling.decision.verdict is Verdict.STEP_UP:
        _require_interaction(asked, "interaction_required")
        raise RedirectToPage(step_up_page(ruling.decision), here)
    if not ruling.is_allowed:
        _require_interaction(asked, "temporarily_unavailable" if ruling.maintenance else "access_denied")
        switch = f"{reverse('switch_account')}?{urlencode({'next': here})}"
        target = Target(_origin_of(asked.place), "GET", "/", ruling.target.client)
        raise ShowPage(refuse(request, target, ruling.application, ruling.decision, switch_url=switch))
    return ruling


def _origin_of(place: Place) -> str:
    return "/".join(place.redirect_uri.split("/", 3)[:3])


def _require_acr(asked: AuthorizationRequest, ruling: Ruling, here: str) -> None:
    """Require an essential acr (Core, section 5.5.1.1). Raises AuthorizationError or RedirectToPage."""
    wanted = asked.essential_acr
    if wanted is None or policy.satisfies(policy.acr_of(ruling.subject), wanted):
        return
    if policy.TWO_FACTORS not in wanted or asked.is_silent:
        raise AuthorizationError("unmet_authentication_requirements", "the acr cannot be had")
    raise RedirectToPage(reverse("second_factor"), here)


def _granted(
    request: SignedInRequest,
    client: Client,
    asked: AuthorizationRequest,
    scopes: tuple[str, ...],
    ruling: Ruling,
) -> str:
    sign_in, address = request.sign_in, client_address(request)
    proven = grants.Authentication(
        proof.proven_at(request),
        policy.amr_of(sign_in, ruling.subject),
        policy.acr_of(ruling.subject),
    )
    try:
        code = grants.grant_code(
            client,
            sign_in,
            scopes,
            proven,
            redirect_uri=asked.place.redirect_uri,
            challenge=asked.challenge,
            nonce=asked.nonce,
            address=address,
        )
    except grants.TooManyGrants:
        raise AuthorizationError("temporarily_unavailable", "too many codes within an hour") from None
    proof.forget(request, client)
    usage.count(ruling)
    record(
        "openid_sign_in",
        actor=ruling.subject.username,
        subject=ruling.subject.username,
        application=client.application.name,
        address=address,
        details={"client": client.client_id, "scopes": list(scopes)},
    )
    return code


# ---- consent ----------------------------------------------------------------------------------------------


def _require_consent(
    request: SignedInRequest,
    client: Client,
    asked: AuthorizationRequest,
    found: Parameters,
    *,
    consents: bool,
) -> tuple[str, ...]:
    """Return the scopes that the client gets. Raises AuthorizationError, or ShowPage to ask the user."""
    if consents:
        consents_of.keep(request, client, asked.scopes)
        return asked.scopes
    is_asked_to = bool(asked.prompts & {"consent", "select_account"})
    if not client.asks_consent and not is_asked_to:
        return asked.scopes
    given = Consent.objects.filter(user=request.user, client=client).first()
    allowed = set(given.scopes.split()) if given else set()
    missing = [scope for scope in asked.scopes if scope not in allowed]
    if not missing and not is_asked_to:
        return asked.scopes
    if asked.is_silent and missing == ["offline_access"]:
        return tuple(scope for scope in asked.scopes if scope != "offline_access")
    _require_interaction(asked, "consent_required")
    raise ShowPage(_question(request, client, asked, found))


def _question(
    request: SignedInRequest, client: Client, asked: AuthorizationRequest, found: Parameters
) -> HttpResponse:
    here = f"{reverse('openid_authorize')}?{urlencode(found.values)}"
    sealed = [urlencode(found.values), request.sign_in.pk]
    context = {
        "application": client.application.name,
        "place": _origin_of(asked.place),
        "scopes": asked.scopes,
        "sealed": signing.dumps(sealed, salt=CONSENT_SALT, compress=True),
        "switch_url": f"{reverse('switch_account')}?{urlencode({'next': here})}",
    }
    return render(request, "openid/consent.html", context)


@never_cache
@require_POST
def consent(request: Request) -> HttpResponse:
    """Handle the user's answer. All other conditions are checked again before the client gets a code."""
    try:
        sealed = request.POST.get("request", "")
        query, asked_of = signing.loads(sealed, salt=CONSENT_SALT, max_age=CONSENT_WITHIN)
        found = parameters.parse(query.encode())
        client, place = _client_and_place(found)
    except (signing.BadSignature, ValueError, TypeError, Unreadable, Unredirectable):
        return _broken(request, "the question has expired, or is not from the portal")
    if not is_signed_in(request) or request.sign_in.pk != asked_of:
        return _redirect(request, f"{reverse('openid_authorize')}?{query}")
    if request.POST.get("answer") != "allow":
        url = authorization.answer_url(place, settings.IKD_PORTAL_ORIGIN, error="access_denied")
        return _redirect(request, url)
    return _answered(request, client, place, found, consents=True)
