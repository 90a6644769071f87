"""Sign-in of devices without a browser: the device shows a code, and a user types it here (8628).

An attacker may start the flow and send the code to a user. Therefore the page names the application and the
device's address, warns, and asks for confirmation. Opening a link has no effect.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from urllib.parse import urlencode

from allauth.mfa.adapter import get_adapter
from django import forms
from django.conf import settings
from django.core import signing
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import throttle
from accounts.requests import SignedInRequest, login_required
from accounts.second_factor.middleware import asks_for_factor
from authgate.audit import record
from authgate.decision.rules import Verdict
from authgate.decision.target import Target
from authgate.endpoints.portal import refuse
from authgate.factor_policy import step_up_page
from authgate.network_limits import network_of
from authgate.peer import client_address
from openid import consents, grants, policy, proof, usage
from openid.client_requests import answer, authenticated_client, call_of, for_clients
from openid.models import Client, DeviceCode
from openid.policy import Ruling
from openid.protocol import device as devices
from openid.protocol.errors import ProtocolError

CODE_AGE = timedelta(minutes=10)
INTERVAL = 5
"""Seconds between two polls of a device. Each poll that comes too early adds 5 seconds (section 3.5)."""

MAX_WAITING_PER_NETWORK = 100
"""Waiting devices of one network and client at most."""

SALT = "openid device"


@for_clients("POST")
def device_authorization(request: HttpRequest) -> HttpResponse:
    """Create a device code and a user code (section 3.1)."""
    call = call_of(request)
    form, asking = call.form, authenticated_client(call)
    client = Client.objects.get(pk=asking.pk)
    if not client.allows_devices:
        raise ProtocolError("unauthorized_client", "the client may not sign devices in")
    scopes = devices.scopes_of(form, frozenset(client.scopes.split()))
    device_code, user_code = _wait(request, client, scopes)
    page = f"{settings.IKD_PORTAL_ORIGIN}{reverse('openid_device')}"
    return answer(
        {
            "device_code": device_code,
            "user_code": devices.shown(user_code),
            "verification_uri": page,
            "verification_uri_complete": _page_with(user_code),
            "expires_in": int(CODE_AGE.total_seconds()),
            "interval": INTERVAL,
        }
    )


def _wait(request: HttpRequest, client: Client, scopes: tuple[str, ...]) -> tuple[str, str]:
    """Store a waiting device and return its two codes. Raises ProtocolError."""
    now, address = timezone.now(), client_address(request)
    network = network_of(address)
    waiting = DeviceCode.objects.filter(client=client, network=network, expires_at__gt=now, grant=None)
    if waiting.count() >= MAX_WAITING_PER_NETWORK:
        raise ProtocolError("temporarily_unavailable", "too many devices of this network wait", status=429)
    device_code, user_code = f"odc_{secrets.token_urlsafe(32)}", devices.new_user_code()
    DeviceCode.objects.create(
        client=client,
        digest=grants.digest(device_code),
        user_code=_keyed(user_code),
        scopes=" ".join(scopes),
        address=address or None,
        network=network,
        interval=INTERVAL,
        created_at=now,
        expires_at=now + CODE_AGE,
    )
    return device_code, user_code


def _keyed(user_code: str) -> str:
    """Return the keyed hash that is stored for a user code. A plain hash of 34 bits could be inverted."""
    return salted_hmac(SALT, user_code, algorithm="sha256").hexdigest()


def _page_with(user_code: str) -> str:
    query = urlencode({"user_code": devices.shown(user_code)})
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse('openid_device')}?{query}"


@asks_for_factor
@never_cache
@require_safe
def device_qr(request: HttpRequest) -> HttpResponse:
    """Draw the QR code of a user code, for devices with a screen. It does not check the code."""
    user_code = devices.normalised(request.GET.get("user_code", ""))
    if not user_code:
        return HttpResponse(status=404)
    return HttpResponse(get_adapter().build_totp_svg(_page_with(user_code)), content_type="image/svg+xml")


# ---- the device polls -------------------------------------------------------------------------------------


def note_poll(device_code: str, client_pk: int) -> ProtocolError:
    """Record a poll and return why the device gets no tokens yet, or never will (section 3.5)."""
    now = timezone.now()
    found = DeviceCode.objects.filter(digest=grants.digest(device_code), client=client_pk).first()
    if found is None:
        return ProtocolError("invalid_grant", "the device code is unknown")
    if found.refused_at is not None:
        return ProtocolError("access_denied", "the user refused")
    if found.expires_at <= now:
        return ProtocolError("expired_token", "the device code has expired")
    is_early = found.polled_at is not None and now - found.polled_at < timedelta(seconds=found.interval)
    interval = min(found.interval + INTERVAL, 300) if is_early else found.interval
    DeviceCode.objects.filter(pk=found.pk).update(polled_at=now, interval=interval)
    if is_early:
        return ProtocolError("slow_down", f"poll at most every {interval} seconds")
    return ProtocolError("authorization_pending", "the user has not answered yet")


# ---- the user types the code ------------------------------------------------------------------------------


class CodeForm(forms.Form):
    user_code = forms.CharField(
        label=_("Code shown on the device"),
        max_length=64,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "characters", "autofocus": True}
        ),
    )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def device(request: SignedInRequest) -> HttpResponse:
    """Ask for a user code. If it is valid, name the application and the device, and ask for confirmation."""
    if request.method != "POST":
        form = CodeForm(initial={"user_code": request.GET.get("user_code", "")[:64]})
        return render(request, "openid/device.html", {"form": form})
    form = CodeForm(request.POST)
    if not form.is_valid():
        return render(request, "openid/device.html", {"form": form}, status=400)
    try:
        slots = throttle.count_device_code_attempt(request.user, client_address(request))
    except throttle.TooManyAttempts as error:
        return throttle.wait_page(request, error.wait)
    found = _waiting(form.cleaned_data["user_code"])
    if found is None:
        form.add_error(
            "user_code", gettext("No device is waiting with this code. The code may have expired.")
        )
        return render(request, "openid/device.html", {"form": form}, status=400)
    throttle.release_attempt(slots)
    return _stopped(request, found) or _question(request, found)


def _waiting(typed: str) -> DeviceCode | None:
    user_code = devices.normalised(typed)
    if not user_code:
        return None
    waiting = DeviceCode.objects.filter(grant=None, refused_at=None, expires_at__gt=timezone.now())
    enabled = waiting.filter(client__enabled=True, client__application__enabled=True)
    allowed = enabled.filter(client__allows_devices=True)
    return allowed.filter(user_code=_keyed(user_code)).select_related("client__application").first()


def _ruling(request: SignedInRequest, found: DeviceCode) -> Ruling:
    return policy.decide(found.client, request.user, request.sign_in, client_address(request))


def _stopped(request: SignedInRequest, found: DeviceCode) -> HttpResponse | None:
    """Return the page that the user has to see first, a second factor or a refusal, or None."""
    ruling = _ruling(request, found)
    if ruling.is_allowed:
        return None
    here = reverse("openid_device")
    if ruling.decision.verdict is Verdict.STEP_UP:
        return HttpResponseRedirect(f"{step_up_page(ruling.decision)}?{urlencode({'next': here})}")
    switch = f"{reverse('switch_account')}?{urlencode({'next': here})}"
    target = Target(settings.IKD_PORTAL_ORIGIN, "GET", "/", ruling.target.client)
    return refuse(request, target, ruling.application, ruling.decision, switch_url=switch)


def _question(request: SignedInRequest, found: DeviceCode) -> HttpResponse:
    context = {
        "application": found.client.application.name,
        "client": found.client.client_id,
        "device": found,
        "scopes": found.scopes.split(),
        "sealed": signing.dumps([found.pk, request.sign_in.pk], salt=SALT),
    }
    return render(request, "openid/device_question.html", context)


@never_cache
@require_POST
@login_required
def device_answer(request: SignedInRequest) -> HttpResponse:
    """Handle the user's answer. The code is used up whatever the answer is."""
    try:
        sealed = request.POST.get("request", "")
        pk, asked_of = signing.loads(sealed, salt=SALT, max_age=CODE_AGE)
    except (signing.BadSignature, ValueError, TypeError):
        return _over(request)
    waiting = DeviceCode.objects.filter(pk=pk, grant=None, refused_at=None, expires_at__gt=timezone.now())
    found = waiting.select_related("client__application").first()
    if found is None or asked_of != request.sign_in.pk or not _is_offered(found.client):
        return _over(request)
    if request.POST.get("answer") != "allow":
        return _refused(request, found)
    return _stopped(request, found) or _allowed(request, found)


def _is_offered(client: Client) -> bool:
    return client.enabled and client.allows_devices and client.application.enabled


def _over(request: HttpRequest) -> HttpResponse:
    return render(request, "openid/device_over.html", status=400)


def _refused(request: SignedInRequest, found: DeviceCode) -> HttpResponse:
    mine = DeviceCode.objects.filter(pk=found.pk, grant=None, refused_at=None)
    if not mine.update(refused_at=timezone.now()):
        return _over(request)
    _record(request, found, "openid_device_refused")
    return render(request, "openid/device_done.html", {"is_allowed": False})


def _allowed(request: SignedInRequest, found: DeviceCode) -> HttpResponse:
    """Create the grant. If several answers race, only one creates it."""
    sign_in, ruling = request.sign_in, _ruling(request, found)
    proven = grants.Authentication(
        proof.proven_at(request),
        policy.amr_of(sign_in, ruling.subject),
        policy.acr_of(ruling.subject),
    )
    scopes, now = tuple(found.scopes.split()), timezone.now()
    try:
        with transaction.atomic():
            mine = DeviceCode.objects.filter(pk=found.pk, grant=None, refused_at=None, expires_at__gt=now)
            grant = grants.new_grant(found.client, sign_in, scopes, proven, client_address(request))
            if not mine.update(grant=grant):
                transaction.set_rollback(True)
                return _over(request)
    except grants.TooManyGrants:
        return throttle.wait_page(request, 3600)
    if found.client.asks_consent:
        consents.keep(request, found.client, scopes)
    usage.count(ruling)
    _record(request, found, "openid_sign_in")
    return render(request, "openid/device_done.html", {"is_allowed": True})


def _record(request: SignedInRequest, found: DeviceCode, kind: str) -> None:
    name = request.user.username
    record(
        kind,
        actor=name,
        subject=name,
        application=found.client.application.name,
        address=client_address(request),
        details={"client": found.client.client_id, "scopes": found.scopes.split(), "device": found.address},
    )
