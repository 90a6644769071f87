"""Notifies clients that a session ended: OpenID Connect Back-Channel Logout 1.0.

Several portals can share the work: a lease decides which of them sends a token. In each portal, one process
queries due tokens when the database reports a write, or when a known due time has come.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.upstreams.errors import ProviderError
from accounts.upstreams.http_client import fetch
from authgate.audit import record
from authgate.prepared import PreparedLookup
from authgate.worker import stale_connections, write_watch
from openid import keys, sweep, triggers
from openid.models import LogoutDelivery
from openid.protocol import signed

log = logging.getLogger("ikd.openid")

ROUND_EVERY = 0.5
"""Seconds between two rounds at least."""

SWEEP_EVERY = 5.0
"""Seconds between two sweeps at least."""

LANES = 4
"""Threads that send one batch each, so that a slow client delays only its own batch."""

BATCH = 16
AT_ONCE = 8
LEASE = timedelta(seconds=60)
DELAYS = (2, 10, 60, 300)
"""Seconds to wait after each failed try. The first try is immediate."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def deliver_due() -> int:
    """Send due tokens and return the number of clients notified."""
    leased = [each for each in _due() if _lease(each)]
    if not leased:
        return 0
    tokens = [_token(each) for each in leased]
    with ThreadPoolExecutor(min(AT_ONCE, len(leased))) as threads:
        answers = list(threads.map(_send, leased, tokens))
    for delivery, (problem, at) in zip(leased, answers, strict=True):
        _note(delivery, problem, at)
    return len(leased)


def next_due() -> datetime | None:
    """Return when the next token is due, which may be in the past, or None if no token is left to send."""
    return next((due_at for (due_at,) in _NEXT_DUE.rows()), None)


def _next_due() -> QuerySet[LogoutDelivery, Any]:
    return LogoutDelivery.objects.filter(done_at=None).order_by("due_at").values_list("due_at")[:1]


_NEXT_DUE = PreparedLookup(_next_due)


def _due() -> list[LogoutDelivery]:
    return list(LogoutDelivery.objects.filter(_is_free(timezone.now())).order_by("due_at")[:BATCH])


def _is_free(now: datetime) -> Q:
    is_left = Q(leased_until=None) | Q(leased_until__lt=now)
    return Q(done_at=None, due_at__lte=now) & is_left


def _lease(delivery: LogoutDelivery) -> bool:
    now = timezone.now()
    mine = LogoutDelivery.objects.filter(_is_free(now), pk=delivery.pk)
    return bool(mine.update(leased_until=now + LEASE))


def _token(delivery: LogoutDelivery) -> str:
    claims = signed.logout_claims(
        settings.IKD_PORTAL_ORIGIN,
        delivery.audience,
        delivery.subject,
        delivery.sid,
        secrets.token_urlsafe(16),
        int(time.time()),
    )
    return keys.sign(claims, signed.LOGOUT_TOKEN)


def _send(delivery: LogoutDelivery, token: str) -> tuple[str, datetime]:
    """Send a token. Return when the client answered, and the problem or "" (section 2.8)."""
    problem = _problem_of(delivery, token)
    return problem, timezone.now()


def _problem_of(delivery: LogoutDelivery, token: str) -> str:
    body = urlencode({"logout_token": token}).encode()
    try:
        answer = fetch(
            delivery.uri, allow_private=delivery.allow_private, method="POST", body=body, headers=FORM
        )
    except ProviderError as error:
        return error.reason
    return "" if answer.status in (200, 204) else f"status {answer.status}"


def _note(delivery: LogoutDelivery, problem: str, now: datetime) -> None:
    tries = delivery.tries + 1
    is_over = not problem or tries > len(DELAYS)
    LogoutDelivery.objects.filter(pk=delivery.pk).update(
        tries=tries,
        answer=problem[:100] or "taken",
        leased_until=None,
        done_at=now if is_over else None,
        due_at=now if is_over else now + timedelta(seconds=DELAYS[tries - 1]),
    )
    if problem and is_over:
        details = {"client": delivery.audience, "problem": problem[:100]}
        record("openid_logout_failed", subject="", reason="the client could not be told", details=details)


# ---- in the background ------------------------------------------------------------------------------------


class Rounds:
    """The background work of one process. Each round starts due work and does not wait for it."""

    def __init__(self) -> None:
        self._lanes: list[threading.Thread] = []
        self._sweeping: threading.Thread | None = None
        self._sweeps = sweep.Sweeps()
        self._swept_at = self._sweep_at = -SWEEP_EVERY
        self._is_written = True

    def go(self, is_written: bool) -> float:
        """Start due work. Return the seconds until the next. `is_written`: rows were written meanwhile."""
        close_old_connections()
        stale_connections.close_stale()
        self._is_written |= is_written
        return max(ROUND_EVERY, min(self._begin_deliveries(), self._begin_sweep()))

    def _begin_deliveries(self) -> float:
        due_at = next_due()
        if due_at is None:
            return sweep.NEVER
        self._lanes = [each for each in self._lanes if each.is_alive()]
        wait: float = (due_at - timezone.now()).total_seconds()
        if wait <= 0 and len(self._lanes) < LANES:
            self._lanes.append(_begin(_deliver_all))
        return wait

    def _begin_sweep(self) -> float:
        if self._sweeping is not None and self._sweeping.is_alive():
            return ROUND_EVERY
        now = time.monotonic()
        wait = (self._swept_at + SWEEP_EVERY if self._is_written else self._sweep_at) - now
        if wait > 0:
            return wait
        self._is_written, self._swept_at, self._sweep_at = False, now, now + SWEEP_EVERY
        self._sweeping = _begin(self._sweep)
        return ROUND_EVERY

    def _sweep(self) -> None:
        self._sweep_at = self._swept_at + max(SWEEP_EVERY, self._sweeps.go())


def _deliver_all() -> None:
    while deliver_due():
        pass


def _begin(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=_logged, args=(work,), name="ikd-openid-work", daemon=True)
    thread.start()
    return thread


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("telling clients goes on after an error")
    finally:
        connection.close()


def start() -> None:
    """Start notifying clients in the background. Call it once, after the worker has forked."""
    threading.Thread(target=_run, name="ikd-openid", daemon=True).start()


def _wait(watch: write_watch.WriteWatch, seconds: float) -> bool:
    """Wait for a write. If none comes soon, close the connection to PostgreSQL while waiting."""
    if seconds > SWEEP_EVERY and connection.vendor == "postgresql":
        if watch.wait(SWEEP_EVERY):
            return True
        connection.close()
        seconds -= SWEEP_EVERY
    return watch.wait(seconds)


def _run() -> None:
    rounds, watch, pause = Rounds(), write_watch.watch(triggers.missing), ROUND_EVERY
    while True:
        is_written = _wait(watch, pause)
        try:
            pause = rounds.go(is_written)
        except Exception:
            pause = ROUND_EVERY
            log.exception("telling clients goes on after an error")
