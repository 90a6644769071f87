"""How long a thread waits for one answer of the database. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _OfThread(threading.local):
    seconds: float | None = None


class _OfProcess:
    seconds: float | None = None
    """None, as in commands: migrations may take long."""


_of_thread = _OfThread()


def limit() -> float | None:
    """Return the seconds that this thread waits at most; None for ever."""
    return _of_thread.seconds or _OfProcess.seconds


def limit_everywhere(seconds: float) -> None:
    """Limit all threads of this process."""
    _OfProcess.seconds = seconds


@contextmanager
def limited_to(seconds: float) -> Iterator[None]:
    """Limit this thread."""
    before, _of_thread.seconds = _of_thread.seconds, seconds
    try:
        yield
    finally:
        _of_thread.seconds = before
