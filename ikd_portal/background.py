"""Background threads of the processes that answer pages."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from pathlib import Path

from django.conf import settings

from accounts import password_hasher
from accounts.access_reviews import rounds as review_rounds
from accounts.upstreams.oidc import recheck_worker
from authgate.doctor import rounds as doctor_rounds
from authgate.endpoints.middleware import GateMiddleware
from authgate.worker import metrics
from authgate.worker.write_behind import writer
from ikd_portal import asgi
from ikd_portal.tidy import rounds
from openid import client_notes, deliveries, token_feed

log = logging.getLogger("ikd.start")

LOCK = "background.lock"
"""The file in IKD_VAR for the lock that lets only one process of a portal run the shared background work."""


def start() -> None:
    """Start the threads. Call it once, after the worker has forked."""
    writer.also.append(client_notes.write_if_due)
    writer.start()
    metrics.sources += [password_hasher.numbers, asgi.numbers]
    GateMiddleware.workers_remember = True
    for each in (recheck_worker, token_feed):
        each.start()
    threading.Thread(target=_start_alone, name="ikd-turn", daemon=True).start()


def _start_alone() -> None:
    """Start the shared background work once no other process runs it. The lock ends with its process."""
    try:
        _lock()
    except OSError as error:  # database leases divide the work, so several processes may run it
        log.warning("%s cannot be locked, so each process looks for work: %s", LOCK, error)
    for each in (deliveries, rounds, doctor_rounds, review_rounds):
        each.start()


def _lock() -> None:
    """Wait for the lock. The file stays open until this process ends. Child processes do not inherit it."""
    number = os.open(Path(settings.IKD_VAR) / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(number, fcntl.LOCK_EX)
