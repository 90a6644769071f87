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
    import uvicorn.lifespan.off  # noqa: F401, or each worker imports it
    from django.urls import reverse

    from authgate.endpoints import check_view, protocol  # noqa: F401
    from authgate.pages import framed, refused
    from authgate.traces import spans
    from ikd_portal import background, page_processes  # noqa: F401

    spans.load()
    reverse("account_login")  # imports all views
    refused.make_ready()
    framed.make_ready()
    gc.collect()  # before the first freeze, in `_practise`, which would keep the garbage
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
        if not _asked_as_when_idle():
            break
    connection.close()


def _asked_as_when_idle() -> bool:
    """Run the queries of an idle portal, which are compiled once. Return whether the database answered."""
    from django.db import DatabaseError

    from accounts.access_reviews import answers
    from accounts.models import Upstream
    from accounts.upstreams.oidc import recheck_worker
    from authgate.worker import database_timeout, feed, migrations
    from openid import deliveries, sweep

    try:
        with database_timeout.limited_to(feed.GIVE_UP_AFTER):
            recheck_worker.may_become_due()
            deliveries.next_due()
            sweep.live_ends()
            answers.has_open_tasks()
            migrations.missing()
            if Upstream.objects.filter(kind=Upstream.Kind.OIDC, enabled=True).exists():
                from accounts.upstreams.oidc import redemption  # noqa: F401, 5 MB that others do not need
    except DatabaseError:
        return False  # workers log it
    return True
