"""Threads that may wait for a provider. Many can wait, but only IKD_THREADS work at the same time.

A waiting thread has no database connection, and no place among the working threads. So a hundred users can
sign in at one slow provider with few connections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connections

WAITING_WITHIN = 10.0
"""Seconds that all responses of a provider to one request may take together."""

Application = Callable[[Any, Any], Iterable[bytes]]


class _Held(threading.local):
    """The place of this thread, and its waiting times. Threads for other pages have no place and no limit."""

    place = False
    waited = 0.0
    waits_since: float | None = None


_held = _Held()
_places = threading.BoundedSemaphore(max(1, settings.IKD_THREADS))


def limit_working_threads(application: Application) -> Application:
    """Return a WSGI application that waits for a place before it runs in a thread."""

    def answer(environ: Any, start_response: Any) -> Iterable[bytes]:
        with _place():
            response = application(environ, start_response)
            try:
                return [b"".join(response)]
            finally:
                if hasattr(response, "close"):
                    response.close()

    return answer


@contextmanager
def waiting() -> Iterator[None]:
    """Release this thread's place and database connection while it waits for a provider.

    Make no query within the block.
    """
    if not _held.place or any(connection.in_atomic_block for connection in connections.all()):
        yield
        return
    _leave()
    _held.waits_since = time.monotonic()
    try:
        yield
    finally:
        _held.waited += time.monotonic() - _held.waits_since
        _held.waits_since = None
        _enter()


def seconds_left(limit: float) -> float:
    """Return how many seconds the next response may take, at most `limit`."""
    waited = _held.waited
    if _held.waits_since is not None:
        waited += time.monotonic() - _held.waits_since
    elif not _held.place:
        return limit
    return min(limit, WAITING_WITHIN - waited)


@contextmanager
def _place() -> Iterator[None]:
    _held.waited = 0.0
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    _places.acquire()
    _held.place = True


def _leave() -> None:
    connections.close_all()
    _held.place = False
    _places.release()
