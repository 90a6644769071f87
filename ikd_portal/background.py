"""What processes that answer pages do in threads of their own."""

from __future__ import annotations

from accounts import password_hasher
from accounts.access_reviews import rounds as review_rounds
from accounts.upstreams.oidc import recheck_worker
from authgate.doctor import rounds as doctor_rounds
from authgate.endpoints.middleware import GateMiddleware
from authgate.worker import metrics
from authgate.worker.write_behind import writer
from ikd_portal import asgi
from ikd_portal.tidy import rounds
from openid import deliveries, token_feed


def start() -> None:
    """Start the threads. Called once, after the worker has forked."""
    writer.start()
    metrics.sources += [password_hasher.numbers, asgi.numbers]
    GateMiddleware.workers_remember = True
    for each in (recheck_worker, deliveries, token_feed, rounds, doctor_rounds, review_rounds):
        each.start()
