"""Limits on recorded events of unknown clients, so that no flood fills the audit events.

The rest is counted, and every hour one row says how many there were.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from django.conf import settings

EVERY = 60.0
"""Seconds after which one more event is kept: with IKD_EVENTS_AT_ONCE some 1,700 a day in each process."""

PART_OF_A_USER = 5
"""Each signed-in user may have so large a part of that, and no stranger's events push it out."""

USERS = 4_096
SUMMARY_EVERY = 3_600.0
"""Seconds between two rows that count discarded events."""


class Bucket:
    """A budget that fills again at a steady rate. Times are seconds of any one clock."""

    def __init__(self, size: float, every: float, now: float) -> None:
        self._size, self._every = size, every
        self._left, self._at = size, now

    def take(self, now: float) -> bool:
        """Return whether there was something left."""
        self._left = min(self._size, self._left + max(0.0, now - self._at) / self._every)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Sample:
    """The budgets of one process, and how many events of each kind they did not allow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._strangers: Bucket | None = None
        self._users: OrderedDict[str, Bucket] = OrderedDict()
        self._left_out: Counter[tuple[str, str]] = Counter()
        self._told_at: float | None = None

    def keeps(self, kind: str, application: str = "", username: str = "") -> bool:
        """Return whether an event is to be kept; count it otherwise. `username` is empty for a stranger."""
        now = self._clock()
        with self._lock:
            if self._bucket(username, now).take(now):
                return True
            self._left_out[kind, application] += 1
            if self._told_at is None:
                self._told_at = now
            return False

    def clear(self) -> None:
        """Begin again with full budgets."""
        with self._lock:
            self._strangers, self._told_at = None, None
            self._users.clear()
            self._left_out.clear()

    def due(self, *, at_once: bool = False) -> dict[tuple[str, str], int]:
        """Return and forget the counts by kind and application, once an hour."""
        now = self._clock()
        with self._lock:
            if self._told_at is None or (now - self._told_at < SUMMARY_EVERY and not at_once):
                return {}
            counts, self._left_out, self._told_at = dict(self._left_out), Counter(), None
            return counts

    def _bucket(self, username: str, now: float) -> Bucket:
        if not username:
            self._strangers = self._strangers or Bucket(settings.IKD_EVENTS_AT_ONCE, EVERY, now)
            return self._strangers
        size = settings.IKD_EVENTS_AT_ONCE / PART_OF_A_USER
        bucket = self._users.setdefault(username, Bucket(size, EVERY, now))
        self._users.move_to_end(username)
        while len(self._users) > USERS:
            self._users.popitem(last=False)
        return bucket


sample = Sample()
"""The budgets of this process. `writer` counts the events beyond them."""
