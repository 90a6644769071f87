"""Threads that may wait for a provider: many of them wait, few of them work at the same time.

A thread that waits holds no database connection and none of the places of those that work. So a hundred
people can sign in at one slow provider, while the database sees no more connections than IKD_THREADS.
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
"""Seconds that all answers of a provider to one request may take together."""

Application = Callable[[Any, Any], Iterable[bytes]]


class _Held(threading.local):
    """What this thread holds. Threads that make other pages hold nothing, and are left alone."""

    place = False
    waited = 0.0
    waits_since: float | None = None


_held = _Held()
_places = threading.BoundedSemaphore(max(1, settings.IKD_THREADS))


def few_at_once(application: Application) -> Application:
    """Return a WSGI application whose answer is made by a thread that holds a place."""

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
    """Hold neither a place nor a connection while this thread waits for a provider, or for one that does.

    Within, no query may be made.
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
    """Return how long the next answer may take, `limit` at most."""
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
