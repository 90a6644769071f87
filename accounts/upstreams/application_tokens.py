"""A provider's tokens for applications that need them, renewed as long as the provider allows."""

from __future__ import annotations

import re
import time
from datetime import timedelta

from django.utils import timezone

from accounts.models import UpstreamSession
from accounts.upstreams.claim_times import stored_time
from accounts.upstreams.oidc.refresh import Outcome, refresh
from authgate.check.memory import Tokens
from authgate.encryption import Secret, Undecryptable

RENEWED_BEFORE = timedelta(seconds=10)
"""If an access token expires sooner, the portal renews it before an application receives it."""

LOOK_AGAIN = 30.0
"""Seconds after which the portal looks up missing tokens again."""

WAIT = 2.0
"""Seconds to wait for another process that is renewing the tokens."""

_TOKEN = re.compile(r"[\x21-\x7e]+")


def tokens_of(sign_in_id: int | None) -> Tokens:
    """Return the tokens of a sign-in, renewed if they expire soon. Two queries without renewal.

    After the first call, the recheck worker renews them before they expire.
    """
    now = time.time()
    session = _session(sign_in_id)
    if session is None:
        return Tokens(b"", b"", now + LOOK_AGAIN)
    if not session.wants_tokens:
        UpstreamSession.objects.filter(pk=session.pk).update(wants_tokens=True)
    if session.refresh_token and _expires_soon(session):
        session = _renew(session)
    return _tokens(session, now) if session else Tokens(b"", b"", now + LOOK_AGAIN)


def _session(sign_in_id: int | None) -> UpstreamSession | None:
    live = UpstreamSession.objects.filter(sign_in=sign_in_id, sign_in__ended_at=None, upstream__enabled=True)
    return live.order_by().first()


def _expires_soon(session: UpstreamSession) -> bool:
    return session.expires_at is not None and session.expires_at < timezone.now() + RENEWED_BEFORE


def _renew(session: UpstreamSession) -> UpstreamSession | None:
    """Renew the tokens, or wait for another process that does. Return the session, or None if it ended."""
    if refresh(session.pk).outcome is Outcome.BUSY:
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            time.sleep(0.1)
            found = _session(session.sign_in_id)
            if found is None or not _expires_soon(found):
                return found
    return _session(session.sign_in_id)


def _tokens(session: UpstreamSession, now: float) -> Tokens:
    access, id_token = _usable(session.access_token), _usable(session.id_token)
    access_until = session.expires_at.timestamp() if session.expires_at else now + LOOK_AGAIN
    id_until = stored_time(id_token, "exp")
    access, id_token = access if now < access_until else "", id_token if now < id_until else ""
    ends = [
        until if token else now + LOOK_AGAIN
        for token, until in ((access, access_until), (id_token, id_until))
    ]
    return Tokens(access.encode(), id_token.encode(), min(ends))


def _usable(secret: Secret) -> str:
    try:
        token = secret.reveal()
    except Undecryptable:
        return ""
    return token if _TOKEN.fullmatch(token) else ""
