"""Connections that the threads of a process open one after the other.

Each connection starts a process of the server, whose priority the portal cannot lower. When everybody signs
in at once, a dozen of these at the same moment would delay checks on the same machine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.5
"""Seconds that a thread waits for its turn. After it, it connects beside the others."""

_lock: threading.Lock | None = None


def take_turns() -> None:
    """Let the threads of this process take turns from now on."""
    global _lock
    _lock = threading.Lock()


@contextmanager
def turn() -> Iterator[None]:
    """Wait for this thread's turn, if threads take turns."""
    has_turn = _lock is not None and _lock.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        if has_turn and _lock is not None:
            _lock.release()
