"""The thread that rechecks sign-ins at their providers. A user disabled there loses access here.

While any sign-in can become due, a thread of each process queries for due sign-ins every few seconds. Only
the process with a row's lease asks the provider. So processes on several machines share the work.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.event_limits import may_record
from accounts.upstreams.logout_requests import end_session
from accounts.upstreams.oidc.refresh import Outcome, free_of_lease, refresh
from authgate.audit import record
from authgate.prepared import PreparedLookup
from authgate.sign_ins import is_idle
from authgate.worker import stale_connections, write_watch

log = logging.getLogger("ikd.upstreams")

ROUND_EVERY = 5.0
"""Seconds."""

LOOKS_EVERY = 30.0
"""Seconds between two queries on PostgreSQL for sign-ins that can become due. On SQLite, a write wakes it."""

BATCH = 50
"""Sign-ins of one provider that a round rechecks."""

AHEAD = timedelta(seconds=60)
"""How long before their expiry the thread renews the tokens of applications."""

USED_WITHIN = timedelta(minutes=15)
"""The thread renews tokens of sign-ins that were used this recently. Others are renewed at their next use."""

TOKENS_DELETED_AFTER = timedelta(hours=1)
DELETES_EVERY = 600.0


def recheck_due() -> int:
    """Ask providers about every due sign-in. Return the number of sign-ins."""
    now, asked = timezone.now(), 0
    for upstream in Upstream.objects.filter(enabled=True, kind=Upstream.Kind.OIDC):
        for session in _due(upstream, now)[:BATCH]:
            if is_idle(session.sign_in):
                continue  # asking would keep the provider's session alive for a user who has left
            result = refresh(session.pk)
            asked += result.outcome is not Outcome.BUSY
            if result.reason and result.outcome is not Outcome.ENDED:
                _record_failure(upstream, result.reason)
            if result.outcome is Outcome.FAILED:
                _end_overdue(upstream)
                break
    return asked


def may_become_due() -> bool:
    """Return whether any sign-in can become due before the next write to the database. One query."""
    now = timezone.now()
    return any(now < seen_at + timedelta(seconds=timeout) for timeout, seen_at in _LAST_SEEN.rows(now))


def _last_seen(now: datetime) -> QuerySet[UpstreamSession, Any]:
    """Return the last use of sign-ins that the portal can recheck, for each idle timeout."""
    found = UpstreamSession.objects.filter(upstream__enabled=True, upstream__kind=Upstream.Kind.OIDC)
    found = found.filter(Q(wants_tokens=True) | Q(upstream__recheck_every__gt=0))
    found = found.filter(sign_in__ended_at=None, sign_in__expires_at__gt=now).exclude(refresh_token="")
    by_timeout = found.order_by().values_list("sign_in__idle_timeout")
    return by_timeout.annotate(Max("sign_in__last_seen_at"))


_LAST_SEEN = PreparedLookup(_last_seen, datetime)


def _live(upstream: Upstream, now: datetime) -> QuerySet[UpstreamSession]:
    found = UpstreamSession.objects.filter(upstream=upstream, sign_in__ended_at=None)
    found = found.filter(sign_in__expires_at__gt=now).exclude(refresh_token="")
    return found.select_related("upstream", "sign_in__user")


def _due(upstream: Upstream, now: datetime) -> QuerySet[UpstreamSession]:
    is_due = Q(wants_tokens=True, expires_at__lt=now + AHEAD, sign_in__last_seen_at__gt=now - USED_WITHIN)
    if upstream.recheck_every:
        is_due |= Q(checked_at__lte=now - timedelta(seconds=upstream.recheck_every))
    return _live(upstream, now).filter(free_of_lease(now)).filter(is_due).order_by("checked_at")


def _end_overdue(upstream: Upstream) -> None:
    """End sign-ins that the portal could not recheck for too long. Call it after the provider has failed."""
    if not upstream.recheck_every:
        return
    now = timezone.now()
    longest = timedelta(seconds=upstream.recheck_every + settings.IKD_RECHECK_GRACE)
    for session in _live(upstream, now).filter(checked_at__lt=now - longest):
        end_session(session, "the provider could not be asked for too long")


def _record_failure(upstream: Upstream, reason: str) -> None:
    """Write an event, at most one in ten minutes for each provider."""
    if may_record(f"recheck-failed:{upstream.pk}", 600):
        record("upstream_not_asked", reason=reason, details={"upstream": upstream.slug})


def delete_ended_tokens() -> int:
    """Delete the tokens of sign-ins that ended an hour ago. Return the number of sign-ins."""
    before = timezone.now() - TOKENS_DELETED_AFTER
    over = Q(sign_in__ended_at__lt=before) | Q(sign_in__expires_at__lt=before)
    left = UpstreamSession.objects.filter(over).exclude(id_token="", access_token="", refresh_token="")
    return left.update(id_token="", access_token="", refresh_token="")


def start() -> None:
    """Start the thread. A worker calls this once, after its fork."""
    threading.Thread(target=_run, name="ikd-recheck", daemon=True).start()


def _run() -> None:
    deleted_at, is_busy, watch = time.monotonic(), True, write_watch.watch_files()
    while True:
        time.sleep(ROUND_EVERY)
        if not is_busy and connection.vendor == "postgresql":
            connection.close()
            watch.wait(LOOKS_EVERY)
        elif not is_busy:
            watch.wait(DELETES_EVERY)
        try:
            close_old_connections()
            stale_connections.close_stale()
            is_busy = may_become_due()
            if is_busy:
                recheck_due()
            if time.monotonic() - deleted_at > DELETES_EVERY:
                deleted_at = time.monotonic()
                delete_ended_tokens()
        except Exception:
            log.exception("asking providers again goes on after an error")
