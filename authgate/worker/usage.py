"""The writer of usage counts: one row for each day, person, application, rule and method."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import date

from django.utils import timezone

from authgate.check.tally import OUTCOMES, Key
from authgate.models import RequestCount
from authgate.worker.counter_rows import CounterRows
from authgate.worker.tallies import Tallies

EVERY = 15.0
"""Seconds between two writes. A killed process loses the counts of this time at most."""

tallies = Tallies()
"""The counts of this process that are not written yet."""

COUNTERS = CounterRows(RequestCount, ("day", "person", "application_id", "rule", "method"), OUTCOMES)
Row = tuple[date, int, int, int, str]


class UsageWriter:
    """Adds the counts of tallies to the rows of the day."""

    def __init__(self, source: Tallies) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._unwritten: dict[Row, Counter[str]] = {}
        self._due_at = 0.0

    def is_due(self) -> bool:
        """Return True once every `EVERY` seconds, otherwise False."""
        if time.monotonic() < self._due_at:
            return False
        self._due_at = time.monotonic() + EVERY
        return True

    def write(self) -> None:
        """Write everything counted so far. After a database error, the next call writes it."""
        with self._lock:
            self._add(self._source.collect())
            if not self._unwritten:
                return
            rows = self._unwritten.items()
            COUNTERS.add({row: [counts[each] for each in OUTCOMES] for row, counts in rows})
            self._unwritten = {}

    def clear(self) -> None:
        """Forget all counts that are not written yet."""
        with self._lock:
            self._source.clear()
            self._unwritten = {}

    def _add(self, counted: Counter[Key]) -> None:
        today = timezone.localdate()
        for (application, person, rule, method, outcome), count in counted.items():
            row = (today, person, application, rule, method)
            self._unwritten.setdefault(row, Counter())[outcome] += count


usage = UsageWriter(tallies)
