"""The thread that begins due reviews, in each process that answers pages. A lease lets only one work."""

from __future__ import annotations

import logging
import secrets
import threading
import time

from django.db import close_old_connections, connection

from accounts.access_reviews import answers, reviews
from authgate import leases
from authgate.worker import stale_connections

log = logging.getLogger("ikd.reviews")

LEASE = "access reviews"
LEASE_SECONDS = 300.0
"""How long one application may take. After this time, another process can take the lease."""

FIRST_AFTER = 30.0
"""Seconds between the start of a process and its first round."""

LOOKS_EVERY = 600.0
"""Seconds between two rounds."""


def go(holder: str) -> int:
    """Close tasks that are done, and begin the reviews that are due. Return the number of new reviews.

    Do nothing if another process has the lease.
    """
    is_anything_due = answers.has_open_tasks() or reviews.due().exists()
    if not is_anything_due or not leases.hold(LEASE, holder, LEASE_SECONDS):
        return 0
    answers.close_done_tasks()
    begun = 0
    for application in list(reviews.due()):
        if not leases.hold(LEASE, holder, LEASE_SECONDS):
            break
        try:
            begun += reviews.begin(application) is not None
        except Exception:
            log.exception("a review of access could not begin")
    return begun


def start() -> None:
    """Start the thread. A worker calls this once, after its fork."""
    threading.Thread(target=_run, name="ikd-reviews", daemon=True).start()


def _run() -> None:
    holder = secrets.token_hex(8)
    pause = FIRST_AFTER
    while True:
        time.sleep(pause)
        pause = LOOKS_EVERY
        try:
            close_old_connections()
            stale_connections.close_stale()
            go(holder)
        except Exception:
            log.exception("reviews of access go on after an error")
        finally:
            connection.close()
