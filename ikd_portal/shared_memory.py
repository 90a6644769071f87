"""Loads the portal in gunicorn's master: what is loaded before a fork, all workers share."""

from __future__ import annotations

import gc
from typing import Any

ADAPTS_WITHIN = 10
"""Calls after which Python 3.11 has adapted a function: it begins at the eighth."""


def load(app: Any) -> None:
    """Load everything that workers need, and keep the garbage collector of workers away from it.

    `app` is gunicorn's application. Nothing may stay open here, and no thread may start: workers would share
    connections, and would lack the thread.
    """
    app.wsgi()
    from django.urls import reverse

    from authgate.endpoints import check_view, protocol  # noqa: F401
    from authgate.pages import framed, refused
    from authgate.traces import spans
    from ikd_portal import background, page_processes  # noqa: F401

    spans.load()
    reverse("account_login")  # imports all views
    refused.make_ready()
    framed.make_ready()
    _practise()
    gc.collect()
    gc.freeze()


def _practise() -> None:
    """Read the change feed a few times, as each worker will.

    Python adapts code to its data when it first runs. What is adapted before the fork, no worker has to copy.
    """
    from django.conf import settings
    from django.db import connection

    from authgate.worker import feed, loader
    from authgate.worker.memory import WorkerMemory

    memory = WorkerMemory(loader.gate_settings(), limit=settings.IKD_MEMORY_SESSIONS, clock=feed.boottime)
    for _ in range(ADAPTS_WITHIN):
        if feed.Feed(memory).ensure_fresh() is not feed.Source.MEMORY:
            break  # it has logged why, and workers try again
    connection.close()
