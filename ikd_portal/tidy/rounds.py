"""Rounds of deletions, in a thread of the page processes. A lease decides which process runs one."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable

from django.conf import settings
from django.db import close_old_connections, connection

from authgate import leases
from authgate.worker import stale_connections
from ikd_portal.tidy import sqlite
from ikd_portal.tidy.kinds import KINDS, Kind

log = logging.getLogger("ikd.tidy")

LEASE = "tidy"
LEASE_SECONDS = 60.0
"""Seconds that a process may take for one batch before another process may begin."""

PAUSE = 0.05
"""Seconds between two batches, so that others can write."""

BATCHES = 50
"""Batches of each kind in one round. A large backlog takes several rounds."""


class LeaseLost(Exception):
    """Another process has the lease."""


def go(holder: str, batches: int | None = BATCHES, pause: float = PAUSE) -> Counter[str]:
    """Delete expired rows and return the number of each kind. `batches` None deletes all.

    Raises LeaseLost if another process has the lease.
    """
    done: Counter[str] = Counter()
    turn = _Turn(holder)
    for kind in KINDS:
        done[kind.name] += _delete(kind, batches, pause, turn.hold)
    sqlite.maintain()
    return +done


class _Turn:
    """The lease of one round, extended after a third of its time."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._extend_at = 0.0

    def hold(self) -> None:
        """Keep the lease. Raises LeaseLost."""
        now = time.monotonic()
        if now < self._extend_at:
            return
        if not leases.hold(LEASE, self._holder, LEASE_SECONDS):
            raise LeaseLost
        self._extend_at = now + LEASE_SECONDS / 3


def _delete(kind: Kind, batches: int | None, pause: float, hold: Callable[[], None]) -> int:
    total = count = 0
    while batches is None or count < batches:
        hold()
        deleted = kind.delete()
        total, count = total + deleted, count + 1
        if deleted < kind.batch:
            break
        time.sleep(pause)
    return total


def new_holder() -> str:
    return secrets.token_hex(8)


# ---- in the background ------------------------------------------------------------------------------------


def start() -> None:
    """Start the thread, unless a setting disables it. Call it once, after the worker has forked."""
    if settings.IKD_TIDY_EVERY:
        threading.Thread(target=_run, name="ikd-tidy", daemon=True).start()


def _run() -> None:
    holder = new_holder()
    while True:
        time.sleep(settings.IKD_TIDY_EVERY)
        try:
            close_old_connections()
            stale_connections.close_stale()
            if done := go(holder):
                log.info("tidied", extra={"event": dict(done)})
        except LeaseLost:
            pass
        except Exception:
            log.exception("tidying goes on after an error")
        finally:
            connection.close()
