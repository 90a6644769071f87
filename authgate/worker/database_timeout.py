"""The time that a thread waits for one answer from the database. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _OfThread(threading.local):
    seconds: float | None = None


class _OfProcess:
    seconds: float | None = None
    """None means no limit. Commands have none, because migrations may take long."""


_of_thread = _OfThread()


def limit() -> float | None:
    """Return the seconds that this thread waits at most; None without a limit."""
    return _of_thread.seconds or _OfProcess.seconds


def limit_everywhere(seconds: float) -> None:
    """Limit the wait in all threads of this process."""
    _OfProcess.seconds = seconds


@contextmanager
def limited_to(seconds: float) -> Iterator[None]:
    """Limit the wait in this thread, inside the `with` block."""
    before, _of_thread.seconds = _of_thread.seconds, seconds
    try:
        yield
    finally:
        _of_thread.seconds = before
