"""Notifies clients that a session ended: OpenID Connect Back-Channel Logout 1.0.

Any number of processes share the work: a lease says which of them sends a token.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.conf import settings
from django.core.cache import cache
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone

from accounts.upstreams.errors import ProviderError
from accounts.upstreams.http_client import fetch
from authgate.audit import record
from authgate.worker import stale_connections
from openid import client_notes, keys, sweep
from openid.models import LogoutDelivery
from openid.protocol import signed

log = logging.getLogger("ikd.openid")

ROUND_EVERY = 0.5
"""Seconds."""

SWEEP_EVERY = 5.0
SWEEP_ALL_EVERY = 60.0
"""Seconds between two looks at all grants: rules expire, and no change tells of that."""

BATCH = 16
AT_ONCE = 8
LEASE = timedelta(seconds=60)
DELAYS = (2, 10, 60, 300)
"""Seconds after each try that failed; the first is made at once."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def deliver_due() -> int:
    """Send what is due, and return how many clients were asked."""
    leased = [each for each in _due() if _lease(each)]
    if not leased:
        return 0
    tokens = [_token(each) for each in leased]
    with ThreadPoolExecutor(min(AT_ONCE, len(leased))) as threads:
        answers = list(threads.map(_send, leased, tokens))
    for delivery, (problem, at) in zip(leased, answers, strict=True):
        _note(delivery, problem, at)
    return len(leased)


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
    """Send a token. Return what went wrong, "" if the client took it (section 2.8), and when it answered."""
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
    """What one process does in the background, round by round."""

    def __init__(self) -> None:
        self._swept = self._swept_all = 0.0
        self._change: tuple[int, datetime | None] = (0, None)

    def go(self) -> None:
        close_old_connections()
        stale_connections.close_stale()
        now = time.monotonic()
        if now - self._swept > SWEEP_EVERY:
            self._swept = now
            client_notes.write()
            self._sweep(now)
        while deliver_due():
            pass

    def _sweep(self, now: float) -> None:
        """End what time or a changed rule ended. One process does it, unless the cache cannot be asked."""
        try:
            is_mine = cache.add("openid-sweep", 1, int(SWEEP_EVERY))
        except Exception:
            is_mine = True
        if not is_mine:
            return
        sweep.end_overdue()
        change = sweep.newest_change()
        if change != self._change or now - self._swept_all > SWEEP_ALL_EVERY:
            self._change, self._swept_all = change, now
            sweep.end_unadmitted()


def start() -> None:
    """Begin to tell clients in the background. Called once, after the worker has forked."""
    threading.Thread(target=_run, name="ikd-openid", daemon=True).start()


def _run() -> None:
    rounds = Rounds()
    while True:
        time.sleep(ROUND_EVERY)
        try:
            rounds.go()
        except Exception:
            log.exception("telling clients goes on after an error")
