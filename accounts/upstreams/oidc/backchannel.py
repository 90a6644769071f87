"""OpenID Connect Back-Channel Logout 1.0: a provider reports that a user signed out there."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.core.cache import cache
from django.db import DatabaseError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.claim_texts import identifier
from accounts.upstreams.concurrency import provider_slots
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.event_limits import may_record
from accounts.upstreams.logout_requests import end_sessions, mark_ended, parameter_of
from accounts.upstreams.oidc.metadata import Source, verify_token
from accounts.upstreams.oidc.signed_tokens import LEEWAY, LOGOUT_TOKEN, LONGEST
from authgate.audit import record
from authgate.network_limits import WrongTries
from authgate.peer import client_address

log = logging.getLogger("ikd.security")

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LARGEST = LONGEST + 1024
"""Bytes of a request."""

OLDEST = 300
"""Seconds since a token was issued. Providers send it at once, so the portal refuses older tokens."""

KNOWN_FOR = OLDEST + 2 * LEEWAY + 60
"""Seconds for which the cache stores that a token was used, longer than the token is valid."""

_wrong, _wrong_lock = WrongTries(), threading.Lock()


@csrf_exempt
@require_POST
@sensitive_variables()
def backchannel_logout(request: HttpRequest, slug: str) -> HttpResponse:
    """End the sign-ins that a logout token names. Return 200, or 400 for any error (section 2.8)."""
    upstream = get_object_or_404(Upstream, slug=slug, kind=Upstream.Kind.OIDC, enabled=True)
    address = client_address(request)
    with _wrong_lock:
        too_many = _wrong.is_full(address or "", time.time())
    if too_many:
        return _answer(429, "invalid_request")
    try:
        claims = logout_claims(
            parameter_of(request, "logout_token", largest=LARGEST, encoding="ascii"), upstream
        )
        _end_once(upstream, claims, address)
    except ProviderError as error:
        if error.page is not ErrorPage.UNAVAILABLE:
            with _wrong_lock:
                _wrong.note(address or "", time.time())
        _record_failure(upstream, error, address)
        return _answer(400, "invalid_request")
    except DatabaseError:
        log.exception("a back-channel logout could not be written")
        return _answer(400, "temporarily_unavailable")
    return _answer(200)


def logout_claims(token: str, upstream: Upstream) -> dict[str, Any]:
    """Return the claims of a logout token that meets section 2.6. Raises ProviderError."""
    with provider_slots.hold(upstream.pk):
        claims, _ = verify_token(upstream, token, LOGOUT_TOKEN, Source.CLIENT)
    events = claims["events"]
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping):
        raise ProviderError("the logout token tells of no logout (events)")
    if claims["iat"] < time.time() - OLDEST - LEEWAY:
        raise ProviderError("the logout token was made too long ago")
    if "sub" not in claims and "sid" not in claims:
        raise ProviderError("the logout token names neither a session nor a person")
    for name in ("sub", "sid", "jti"):
        if name in claims:
            identifier(claims[name], name)
    return claims


def _end_once(upstream: Upstream, claims: Mapping[str, Any], address: str | None) -> None:
    """End the sign-ins unless this token was used before.

    If the database fails, forget the use, so that the provider can send the token again.
    """
    used = f"logout-token:{upstream.pk}:{hashlib.sha256(claims['jti'].encode()).hexdigest()}"
    try:
        first = cache.add(used, 1, KNOWN_FOR)
    except Exception:
        log.warning(
            "the cache cannot be reached: a logout token is taken without knowing whether it was before"
        )
        first = True
    if not first:
        raise ProviderError("the logout token was used already")
    try:
        _end(upstream, claims.get("sid", ""), claims.get("sub", ""), claims["iat"], address)
    except DatabaseError:
        with suppress(Exception):
            cache.delete(used)
        raise


def _end(upstream: Upstream, sid: str, subject: str, at: float, address: str | None) -> None:
    """End the sign-ins of a provider's session, or all sign-ins of a user if `sid` is empty.

    Also end the user's sign-ins without a `sid`, because each of them may belong to that session.
    """
    mark_ended(upstream.pk, {"sid": sid, "sub-without-sid": subject} if sid else {"sub": subject}, at)
    meant = Q(sid=sid) | Q(sid="", subject=subject) if sid else Q(subject=subject)
    if subject:
        meant &= Q(subject=subject)
    sessions = UpstreamSession.objects.filter(meant, upstream=upstream)
    end_sessions(sessions, "back-channel logout by the provider", address)


# ---- answers ----------------------------------------------------------------------------------------------


def _answer(status: int, error: str = "") -> HttpResponse:
    body = json.dumps({"error": error}) if error else ""
    response = HttpResponse(body, status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    return response


def _record_failure(upstream: Upstream, error: ProviderError, address: str | None) -> None:
    """Write an event, at most one in ten seconds for each provider, because attackers can cause it."""
    if may_record(f"logout-failed:{upstream.pk}", 10):
        record(
            "backchannel_logout_failed",
            reason=error.reason,
            address=address,
            details={"upstream": upstream.slug},
        )
