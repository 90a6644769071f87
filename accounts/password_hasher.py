"""Argon2 hashing in a thread of its own, one hash at a time, at low priority.

A hash takes about 100 MB and all cores for a moment. Many at once would slow down the machine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from authgate.pages.outage import Overloaded

NICENESS = 10
"""Added to the nice value of the process for the hashing thread (nice(2))."""

T = TypeVar("T")


class _HashQueue:
    """The queue for this process's hashes. `count` includes the running one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = self.done = self.shed = 0
        self.seconds = 0.0
        self.threads = ThreadPoolExecutor(1, "ikd-hash", initializer=_lower_priority)

    def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work`. Raises Overloaded if too many are waiting."""
        with self.lock:
            if self.count > settings.IKD_PASSWORD_QUEUE:
                self.shed += 1
                raise Overloaded
            self.count += 1
        try:
            return self.threads.submit(self._timed, work).result()
        finally:
            with self.lock:
                self.count -= 1

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return work()
        finally:
            self.seconds += time.monotonic() - began
            self.done += 1


def numbers() -> dict[str, float]:
    """Return the metrics of this process's hashes."""
    return {
        "ikd_password_hashes_waiting": _hash_queue.count,
        "ikd_password_hashes_total": _hash_queue.done,
        "ikd_password_hash_seconds_total": _hash_queue.seconds,
        "ikd_password_hashes_shed_total": _hash_queue.shed,
    }


def _lower_priority() -> None:
    # On Linux a thread has its own priority, which the threads that it starts inherit.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + NICENESS)


_hash_queue = _HashQueue()
os.register_at_fork(after_in_child=lambda: globals().update(_hash_queue=_HashQueue()))


class PasswordHasher(Argon2PasswordHasher):
    """Django's hasher with the parameters of the settings, for one hash at a time."""

    time_cost = settings.IKD_ARGON2_TIME_COST
    memory_cost = settings.IKD_ARGON2_MEMORY_COST
    parallelism = settings.IKD_ARGON2_PARALLELISM

    def encode(self, password: str, salt: str) -> str:
        """Return the hash of a password. Raises Overloaded."""
        return _hash_queue.run(lambda: super(PasswordHasher, self).encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether a hash is that of the password. Raises Overloaded."""
        return _hash_queue.run(lambda: super(PasswordHasher, self).verify(password, encoded))
