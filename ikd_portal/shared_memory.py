"""Loads the portal in gunicorn's master before it forks, so that all workers share the memory."""

from __future__ import annotations

import gc
from typing import Any

WARM_UP_CALLS = 10
"""Calls after which Python 3.11 has specialised a function. It begins at the eighth."""


def load(app: Any) -> None:
    """Load everything that workers need, and keep the workers' garbage collector away from it.

    `app` is gunicorn's application. No connection may stay open and no thread may start here. Workers would
    share the connection and lack the thread.
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
    refused.warm_up()
    framed.warm_up()
    gc.collect()  # before the first freeze in `_warm_up`, which would keep the garbage
    _warm_up()
    gc.collect()
    gc.freeze()


def _warm_up() -> None:
    """Read the change feed a few times, as each worker will.

    Python specialises code for its data when it first runs. Workers share pages that were specialised before
    the fork, and need no copies.
    """
    from django.conf import settings
    from django.db import connection

    from authgate.worker import feed, loader
    from authgate.worker.memory import WorkerMemory

    memory = WorkerMemory(loader.gate_settings(), limit=settings.IKD_MEMORY_SESSIONS, clock=feed.boottime)
    for _ in range(WARM_UP_CALLS):
        if feed.Feed(memory).ensure_fresh() is not feed.Source.MEMORY:
            break  # the feed has logged why, and workers try again
        if not _run_idle_queries():
            break
    connection.close()


def _run_idle_queries() -> bool:
    """Run and compile the queries of an idle portal once. Return whether the database answered."""
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
