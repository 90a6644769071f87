"""A lock that makes the threads of a process open connections one after the other.

For each connection, PostgreSQL starts a process, whose priority the portal cannot lower. When all users sign
in at once, a dozen of these at the same moment would delay checks on the same machine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_WAIT = 0.5
"""Seconds that a thread waits for its turn. Then it connects anyway."""

_lock: threading.Lock | None = None


def take_turns() -> None:
    """Make the threads of this process take turns from now on."""
    global _lock
    _lock = threading.Lock()


@contextmanager
def turn() -> Iterator[None]:
    """Wait for this thread's turn, if threads take turns."""
    has_turn = _lock is not None and _lock.acquire(timeout=MAX_WAIT)
    try:
        yield
    finally:
        if has_turn and _lock is not None:
            _lock.release()
