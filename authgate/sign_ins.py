"""Sign-ins and gate sessions: create, find and end them. The database is the only authority."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.audit import printable
from authgate.factor_policy import in_strict_group
from authgate.models import GateSession, SignIn
from authgate.prepared import PreparedLookup, column_names, instance_of

if TYPE_CHECKING:
    from django.contrib.auth.models import _User as User


def digest(token: str) -> bytes:
    """Return the digest of a token. The database stores only digests, so its readers gain no session."""
    return hashlib.sha256(token.encode("latin-1", "replace")).digest()


def begin_sign_in(
    user: User,
    *,
    session_digest: str | None,
    address: str | None,
    user_agent: str,
    methods: list[str],
    keep: bool,
    second_factor: bool = False,
    remembered_device: bool = False,
) -> SignIn:
    """Record that `user` signed in, and return the sign-in. `keep` is "keep me signed in".

    `session_digest` identifies the portal session.
    """
    now = timezone.now()
    lifetime = settings.IKD_KEEP_SIGNED_IN_LIFETIME if keep else settings.IKD_SIGN_IN_LIFETIME
    idle = settings.IKD_KEEP_SIGNED_IN_IDLE_TIMEOUT if keep else settings.IKD_IDLE_TIMEOUT
    return SignIn.objects.create(
        user=user,
        session_digest=session_digest,
        started_at=now,
        last_seen_at=now,
        expires_at=now + timedelta(seconds=lifetime),
        idle_timeout=idle,
        address=address or None,
        user_agent=printable(user_agent, 300),
        keep=keep,
        methods=methods,
        second_factor_at=now if second_factor else None,
        passkey_at=now if second_factor and "webauthn" in methods else None,
        remembered_device=remembered_device,
    )


def live_sign_ins() -> QuerySet[SignIn]:
    """Return the live sign-ins, including idle ones: see `without_idle` and `is_idle`."""
    return SignIn.objects.filter(ended_at=None, expires_at__gt=timezone.now(), user__is_active=True)


def without_idle(sign_ins: QuerySet[SignIn]) -> QuerySet[SignIn]:
    """Exclude idle sign-ins. One more query loads the idle timeouts that past settings had."""
    now = timezone.now()
    busy = Q(pk__in=[])
    for timeout in sign_ins.order_by().values_list("idle_timeout", flat=True).distinct():
        busy |= Q(idle_timeout=timeout, last_seen_at__gt=now - timedelta(seconds=timeout))
    return sign_ins.filter(busy)


def is_idle(sign_in: SignIn) -> bool:
    return timezone.now() >= sign_in.last_seen_at + timedelta(seconds=sign_in.idle_timeout)


def _live_of_session(session_digest: str, now: datetime) -> QuerySet[SignIn, tuple[Any, ...]]:
    users = column_names(get_user_model(), "user__")
    return (
        SignIn.objects.filter(ended_at=None, expires_at__gt=now, user__is_active=True)
        .filter(session_digest=session_digest)
        .values_list(in_strict_group("user"), *column_names(SignIn), *users)[:1]
    )


_LIVE_OF_SESSION = PreparedLookup(_live_of_session, str, datetime)


def sign_in_of(session_digest: str) -> SignIn | None:
    """Return the live sign-in of a portal session, with its user; None if it has ended or is idle."""
    rows = _LIVE_OF_SESSION.rows(session_digest, timezone.now())
    if not rows:
        return None
    is_in_strict_group, *columns = rows[0]
    own = len(column_names(SignIn))
    found = instance_of(SignIn, columns[:own])
    found.user = instance_of(get_user_model(), columns[own:])
    setattr(found, "in_strict_group", bool(is_in_strict_group))  # noqa: B010  (an annotation)
    return None if is_idle(found) else found


class _Request(threading.local):
    """The request that this thread answers."""

    revokes_access = False


_request = _Request()


def note_revocation() -> None:
    """Note that this request removes access. Its answer then waits until every worker knows."""
    _request.revokes_access = True


def revokes_access() -> bool:
    """Return whether the current request of this thread removed access."""
    return _request.revokes_access


def forget_revocation() -> None:
    """Reset this thread for the next request."""
    _request.revokes_access = False


def end_sign_ins(which: QuerySet[SignIn]) -> int:
    """End sign-ins with their portal and gate sessions. Return the number of sign-ins."""
    note_revocation()
    return which.filter(ended_at=None).update(ended_at=timezone.now(), session_digest=None)


def touch(sign_in_ids: Iterable[int], at: datetime | None = None) -> None:
    """Record that sign-ins were used now, or at `at`; at most once a minute for each.

    An ended sign-in stays ended (compare CVE-2022-37186 of LemonLDAP::NG).
    """
    at = at or timezone.now()
    earlier = at - timedelta(seconds=50)
    SignIn.objects.filter(pk__in=sign_in_ids, ended_at=None, last_seen_at__lt=earlier).update(last_seen_at=at)


def open_gate(sign_in: SignIn, origin: str, *, instead_of: str = "") -> str:
    """Open a gate session and return its token, which is not stored.

    `origin` is a concrete origin, or a shared cookie domain such as `.example.com`.

    `instead_of` is the token that the browser had there before. Its session ends.
    """
    now = timezone.now()
    if instead_of:
        previous = GateSession.objects.filter(token_digest=digest(instead_of), origin=origin, ended_at=None)
        previous.update(ended_at=now)
    token = secrets.token_urlsafe(32)
    GateSession.objects.create(sign_in=sign_in, origin=origin, token_digest=digest(token), created_at=now)
    return token
