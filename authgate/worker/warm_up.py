"""Loads the sessions that were used last into the memory of a process that has just started.

The process answers checks meanwhile: whatever a check lacks is looked up at once.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from authgate.models import GateSession
from authgate.worker import loader, stale_connections
from authgate.worker.feed import Feed, Source

log = logging.getLogger("ikd.feed")

USED_WITHIN = timedelta(minutes=30)
"""Sessions used longer ago are left to the checks that ask for them."""

MOST = 50_000
"""Sessions that are loaded at most; half of those that memory may hold, if that is less."""

BATCH = 64
"""Sessions of one query. It takes a few milliseconds, and as long a pause follows."""


def start(feed: Feed) -> None:
    """Load in a thread. Called once, after the worker has forked."""
    threading.Thread(target=_run, args=(feed,), name="ikd-warm-up", daemon=True).start()


def _run(feed: Feed) -> None:
    try:
        load(feed)
    except Exception:
        log.exception("the sessions used last could not be loaded in advance")
    finally:
        close_old_connections()


def load(feed: Feed) -> int:
    """Load the sessions used last, and return how many memory kept."""
    keys, kept = _used_last(), 0
    for start in range(0, len(keys), BATCH):
        began = time.monotonic()
        if feed.ensure_fresh() is not Source.MEMORY:
            return kept
        kept += _load(feed, keys[start : start + BATCH])
        time.sleep(time.monotonic() - began)
    return kept


def _load(feed: Feed, keys: list[bytes]) -> int:
    memory = feed.memory
    generation = memory.generation
    stale_connections.close_stale()  # after the generation: what an old connection shows is not kept
    found = loader.load_sessions(keys)
    return sum(memory.hold(key, session, generation) for key, session in found.items())


def _used_last() -> list[bytes]:
    stale_connections.close_stale()
    used = GateSession.objects.filter(
        ended_at=None, sign_in__ended_at=None, sign_in__last_seen_at__gte=timezone.now() - USED_WITHIN
    )
    most = min(MOST, settings.IKD_MEMORY_SESSIONS // 2)
    return [bytes(digest) for digest in used.values_list("token_digest", flat=True)[:most]]
