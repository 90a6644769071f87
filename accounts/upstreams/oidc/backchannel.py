"""OpenID Connect Back-Channel Logout 1.0: a provider says that somebody signed out there."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import jwt
from django.core.cache import cache
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.claim_texts import identifier
from accounts.upstreams.concurrency import turns
from accounts.upstreams.errors import Blame, Trouble
from accounts.upstreams.oidc.metadata import Source, verified
from accounts.upstreams.oidc.signed_tokens import LEEWAY, LOGOUT_TOKEN, LONGEST
from authgate.audit import record
from authgate.encryption import Undecryptable
from authgate.models import SignIn
from authgate.network_limits import WrongTries
from authgate.peer import client_address
from authgate.sign_ins import end_sign_ins

log = logging.getLogger("ikd.security")

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LARGEST = LONGEST + 1024
"""Octets of a request."""

OLDEST = 300
"""Seconds since a token was made. A provider sends one at once; whatever is older need not be remembered."""

KNOWN_FOR = OLDEST + 2 * LEEWAY + 60
"""Seconds for which a token that was taken is known, longer than it could be taken again."""

ENDED_FOR = 1800
"""Seconds for which the end of a session is known that may be on its way here: between the provider and

the sign-in may be the question for a second factor.
"""

_wrong, _wrong_lock = WrongTries(), threading.Lock()


@csrf_exempt
@require_POST
@sensitive_variables()
def backchannel_logout(request: HttpRequest, slug: str) -> HttpResponse:
    """End the sign-ins that a logout token names: 200, or 400 for whatever is wrong (section 2.8)."""
    upstream = get_object_or_404(Upstream, slug=slug, kind=Upstream.Kind.OIDC, enabled=True)
    address = client_address(request)
    with _wrong_lock:
        too_many = _wrong.is_full(address or "", time.time())
    if too_many:
        return _answer(429, "invalid_request")
    try:
        claims = claims_of(_token_sent(request), upstream)
        _end_once(upstream, claims, address)
    except Trouble as trouble:
        if trouble.blame is not Blame.UNAVAILABLE:
            with _wrong_lock:
                _wrong.note(address or "", time.time())
        _tell(upstream, trouble, address)
        return _answer(400, "invalid_request")
    except DatabaseError:
        log.exception("a back-channel logout could not be written")
        return _answer(400, "temporarily_unavailable")
    return _answer(200)


def _token_sent(request: HttpRequest) -> str:
    length = request.META.get("CONTENT_LENGTH") or ""
    if request.content_type != "application/x-www-form-urlencoded" or not length.isdecimal():
        raise Trouble("a logout request is no form")
    if not 0 < int(length) <= LARGEST:
        raise Trouble("a logout request is empty, or larger than any honest one")
    try:
        form = parse_qs(request.read(int(length)).decode("ascii"), max_num_fields=10)
    except (ValueError, OSError):
        raise Trouble("a logout request is no form") from None
    tokens = form.get("logout_token", [])
    if len(tokens) != 1:
        raise Trouble("a logout request has no logout token, or several")
    return tokens[0]


def claims_of(token: str, upstream: Upstream) -> dict[str, Any]:
    """Give the claims of a logout token that is all section 2.6 asks for. Raises Trouble."""
    with turns.turn(upstream.pk):
        claims, _ = verified(upstream, token, LOGOUT_TOKEN, Source.ANYBODY)
    events = claims["events"]
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping):
        raise Trouble("the logout token tells of no logout (events)")
    if claims["iat"] < time.time() - OLDEST - LEEWAY:
        raise Trouble("the logout token was made too long ago")
    if "sub" not in claims and "sid" not in claims:
        raise Trouble("the logout token names neither a session nor a person")
    for name in ("sub", "sid", "jti"):
        if name in claims:
            identifier(claims[name], name)
    return claims


def _end_once(upstream: Upstream, claims: Mapping[str, Any], address: str | None) -> None:
    """End the sign-ins unless this token was taken before. What could not be written may come again."""
    used = f"logout-token:{upstream.pk}:{_digest(claims['jti'])}"
    try:
        first = cache.add(used, 1, KNOWN_FOR)
    except Exception:
        log.warning(
            "the cache cannot be reached: a logout token is taken without knowing whether it was before"
        )
        first = True
    if not first:
        raise Trouble("the logout token was used already")
    try:
        end_sessions(upstream, claims.get("sid", ""), claims.get("sub", ""), claims["iat"], address)
    except DatabaseError:
        with suppress(Exception):
            cache.delete(used)
        raise


def end_sessions(upstream: Upstream, sid: str, subject: str, at: float, address: str | None) -> None:
    """End the sign-ins of a provider's session, or of all of a person's where it names none.

    A sign-in of the person of which the provider never told the session may be this one, and ends.
    """
    _mark_ended(upstream.pk, sid, subject, at)
    meant = Q(sid=sid) | Q(sid="", subject=subject) if sid else Q(subject=subject)
    if subject:
        meant &= Q(subject=subject)
    sessions = UpstreamSession.objects.filter(meant, upstream=upstream, sign_in__ended_at=None)
    for session in sessions.select_related("sign_in__user"):
        with transaction.atomic():
            if end_sign_ins(SignIn.objects.filter(pk=session.sign_in_id)):
                record(
                    "sign_out",
                    subject=session.sign_in.user.username,
                    reason="back-channel logout by the provider",
                    address=address,
                    details={"upstream": upstream.slug},
                )


# ---- those that are on their way --------------------------------------------------------------------------


def _mark_ended(upstream_id: int, sid: str, subject: str, at: float) -> None:
    """Remember whom a token names: for those on their way holds what holds for those that came."""
    names = {"sid": sid, "sub-without-sid": subject} if sid else {"sub": subject}
    marks = {_ended_key(upstream_id, kind, name): at for kind, name in names.items() if name}
    try:
        cache.set_many(marks, ENDED_FOR)
    except Exception:
        log.warning("the cache cannot be reached: a sign-in that is on its way may outlive its logout")


@receiver(post_save, sender=UpstreamSession, dispatch_uid="end what the provider ended before it began")
def end_late_arrival(instance: UpstreamSession, created: bool, **kwargs: Any) -> None:
    """End a sign-in whose session the provider ended while it was on its way here."""
    if created and instance.id_token:
        transaction.on_commit(lambda: _end_if_marked(instance))


def _end_if_marked(session: UpstreamSession) -> None:
    if _is_marked(session):
        end_sign_ins(SignIn.objects.filter(pk=session.sign_in_id))


def _is_marked(session: UpstreamSession) -> bool:
    by_sid = _ended_key(session.upstream_id, "sid", session.sid)
    by_subject = [_ended_key(session.upstream_id, "sub", session.subject)]
    if not session.sid:
        by_subject.append(_ended_key(session.upstream_id, "sub-without-sid", session.subject))
    try:
        ended = cache.get_many([by_sid, *by_subject])
    except Exception:
        return True  # it may be; the person signs in again once the cache is there
    # A session that ended is never opened again; a person may have signed in since.
    is_over = bool(session.sid) and by_sid in ended
    return is_over or any(_made_at(session) <= ended[key] for key in by_subject if key in ended)


def _made_at(session: UpstreamSession) -> float:
    """Return when the session's ID token was issued. It was verified when it came."""
    try:
        claims = jwt.decode(session.id_token.reveal(), options={"verify_signature": False})
        return float(claims["iat"])
    except (Undecryptable, jwt.PyJWTError, KeyError, TypeError, ValueError):
        return 0.0


def _ended_key(upstream_id: int, kind: str, name: str) -> str:
    return f"upstream-ended:{upstream_id}:{kind}:{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# ---- answers ----------------------------------------------------------------------------------------------


def _answer(status: int, error: str = "") -> HttpResponse:
    body = json.dumps({"error": error}) if error else ""
    response = HttpResponse(body, status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    return response


def _tell(upstream: Upstream, trouble: Trouble, address: str | None) -> None:
    """Leave an event, at most one in ten seconds for each provider: strangers can send what they like."""
    try:
        may = cache.add(f"logout-failed:{upstream.pk}", 1, 10)
    except Exception:
        may = False
    if may:
        record(
            "backchannel_logout_failed",
            reason=trouble.reason,
            address=address,
            details={"upstream": upstream.slug},
        )
