"""The common parts of providers' logout requests, by OpenID Connect and CAS.

A session can end at the provider while its sign-in is still pending here, for example before the second
factor. Such a sign-in must end as soon as it begins. So the cache marks each ended session for an hour.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from django.core.cache import cache
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from accounts.models import UpstreamSession
from accounts.upstreams.claim_times import stored_time
from accounts.upstreams.errors import ProviderError
from authgate.audit import record
from authgate.encryption import Undecryptable
from authgate.models import SignIn
from authgate.sign_ins import end_sign_ins

log = logging.getLogger("ikd.security")

MARKED_FOR = 3600
"""Seconds for which the cache marks an ended session, longer than any sign-in can be pending."""

# ---- the request ------------------------------------------------------------------------------------------


@sensitive_variables()
def parameter_of(request: HttpRequest, name: str, *, largest: int, encoding: str) -> str:
    """Return the value of a form parameter that must occur once. Raises ProviderError otherwise.

    Do not read a form of more than `largest` bytes.
    """
    length = request.META.get("CONTENT_LENGTH") or ""
    if request.content_type != "application/x-www-form-urlencoded" or not length.isdecimal():
        raise ProviderError("a logout request is no form")
    if not 0 < int(length) <= largest:
        raise ProviderError("a logout request is empty, or larger than any honest one")
    try:
        form = parse_qs(request.read(int(length)).decode(encoding), max_num_fields=10)
    except (ValueError, OSError):
        raise ProviderError("a logout request is no form") from None
    values = form.get(name, [])
    if len(values) != 1:
        raise ProviderError("a logout request has no logout token, or several")
    return values[0]


# ---- sign-ins that have begun -----------------------------------------------------------------------------


def end_sessions(sessions: QuerySet[UpstreamSession], reason: str, address: str | None) -> None:
    """End the sign-ins of these sessions that are still live, each with an audit event."""
    # Select first: a request that ends nothing must not wait for other processes.
    for session in sessions.filter(sign_in__ended_at=None).select_related("upstream", "sign_in__user"):
        end_session(session, reason, address)


@transaction.atomic
def end_session(session: UpstreamSession, reason: str, address: str | None = None) -> None:
    """End the sign-in of a session. Write an audit event, unless the sign-in ended before."""
    if end_sign_ins(SignIn.objects.filter(pk=session.sign_in_id)):
        record(
            "sign_out",
            subject=session.sign_in.user.username,
            reason=reason,
            address=address,
            details={"upstream": session.upstream.slug},
        )


# ---- sign-ins that are pending ----------------------------------------------------------------------------


def mark_ended(upstream_id: int, names: Mapping[str, str], at: float) -> None:
    """Mark sessions as ended, for sign-ins that are pending. `at` is Unix time.

    Keys of `names` are "ticket", "sid", "sub", and "sub-without-sid" for the user's sign-ins without a sid.
    """
    marks = {mark_key(upstream_id, kind, name): at for kind, name in names.items() if name}
    try:
        cache.set_many(marks, MARKED_FOR)
    except Exception:
        log.warning("the cache cannot be reached: a sign-in that is on its way may outlive its logout")


def mark_key(upstream_id: int, kind: str, name: str) -> str:
    """Return the cache's key for the mark of a session."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"upstream-ended:{upstream_id}:{kind}:{digest}"


@receiver(post_save, sender=UpstreamSession, dispatch_uid="end what the provider ended before it began")
def end_pending_sign_in(instance: UpstreamSession, created: bool, **kwargs: Any) -> None:
    """End a new sign-in if its session ended at the provider while the sign-in was pending."""
    if created and (instance.id_token or instance.ticket_digest):
        transaction.on_commit(lambda: _end_if_marked(instance))


def _end_if_marked(session: UpstreamSession) -> None:
    if _is_marked(session):
        end_sign_ins(SignIn.objects.filter(pk=session.sign_in_id))


def _is_marked(session: UpstreamSession) -> bool:
    """Return whether the session is marked as ended. If the cache cannot be reached, return True."""
    names = {"ticket": session.ticket_digest, "sid": session.sid}
    by_name = [mark_key(session.upstream_id, kind, name) for kind, name in names.items() if name]
    kinds = ["sub"] if session.sid else ["sub", "sub-without-sid"]
    by_person = [mark_key(session.upstream_id, kind, session.subject) for kind in kinds if session.id_token]
    try:
        ended = cache.get_many([*by_name, *by_person])
    except Exception:
        return True  # the user signs in again once the cache is back
    # An ended session or ticket stays ended. But the user may have signed in again after the mark of "sub".
    if any(key in ended for key in by_name):
        return True
    return any(_issued_at(session) <= ended[key] for key in by_person if key in ended)


def _issued_at(session: UpstreamSession) -> float:
    """Return when the session's ID token was issued. The token was verified before it was stored."""
    try:
        return stored_time(session.id_token.reveal(), "iat")
    except Undecryptable:
        return 0.0
