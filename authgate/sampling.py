"""Limits on recorded events of unknown clients, so that no flood fills the audit events.

Further events are counted, and every hour one row records their number.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from django.conf import settings

EVERY = 60.0
"""Seconds until the budget allows one more event. With IKD_EVENTS_AT_ONCE, each process keeps about 1,700
a day."""

PART_OF_A_USER = 5
"""The divisor for the budget of a signed-in user: a fifth of it. Strangers' events do not use it up."""

USERS = 4_096
SUMMARY_EVERY = 3_600.0
"""Seconds between two rows that count discarded events."""


class Bucket:
    """A token bucket: a budget that refills at a steady rate. Times are seconds of the caller's clock."""

    def __init__(self, size: float, every: float, now: float) -> None:
        self._size, self._every = size, every
        self._left, self._at = size, now

    def take(self, now: float) -> bool:
        """Take one from the budget. Return False if it is empty."""
        self._left = min(self._size, self._left + max(0.0, now - self._at) / self._every)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Sample:
    """The budgets of one process, and the number of events beyond them, by kind and application."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._strangers: Bucket | None = None
        self._users: OrderedDict[str, Bucket] = OrderedDict()
        self._left_out: Counter[tuple[str, str]] = Counter()
        self._counting_since: float | None = None

    def keeps(self, kind: str, application: str = "", username: str = "") -> bool:
        """Return whether to keep an event. Otherwise count it. `username` is empty for a stranger."""
        now = self._clock()
        with self._lock:
            if self._bucket(username, now).take(now):
                return True
            self._left_out[kind, application] += 1
            if self._counting_since is None:
                self._counting_since = now
            return False

    def clear(self) -> None:
        """Reset to full budgets and no counts."""
        with self._lock:
            self._strangers, self._counting_since = None, None
            self._users.clear()
            self._left_out.clear()

    def due(self, *, at_once: bool = False) -> dict[tuple[str, str], int]:
        """Return and forget the counts by kind and application, once an hour; otherwise an empty dict."""
        now = self._clock()
        with self._lock:
            if self._counting_since is None or (now - self._counting_since < SUMMARY_EVERY and not at_once):
                return {}
            counts, self._left_out, self._counting_since = dict(self._left_out), Counter(), None
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
