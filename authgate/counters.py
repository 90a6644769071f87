"""Counters and histograms of this process for /metrics. The number of series is limited.

A label never contains a client's text. Its value is from a fixed list, or a name that administrators chose.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

Numbers = dict[str, float]
"""Numbers by series. A series is `name` or `name{label="value"}`."""

MOST_SERIES = 100
"""Series that one counter may have. Further series are counted under OTHER."""

OTHER = "other"

BUCKETS = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of a histogram's buckets, in seconds."""


class LabelledCounter:
    """A counter with labels."""

    def __init__(self, name: str, *labels: str, most: int = MOST_SERIES) -> None:
        self._name, self._labels, self._most = name, labels, most
        self._cells: dict[tuple[str, ...], list[float]] = {}
        self._lock = threading.Lock()

    def cell(self, *values: str) -> list[float]:
        """Return a list with one item, the count of a series. One thread may add to it without a lock."""
        found = self._cells.get(values)
        if found is None:
            with self._lock:
                if len(self._cells) >= self._most:
                    values = (OTHER,) * len(self._labels)
                found = self._cells.setdefault(values, [0])
        return found

    def add(self, *values: str, amount: float = 1) -> None:
        """Add `amount` to the series with these label values. Any thread may call it."""
        cell = self.cell(*values)
        with self._lock:
            cell[0] += amount

    def by_first_label(self) -> dict[str, float]:
        return {values[0]: cell[0] for values, cell in list(self._cells.items())}

    def total(self) -> float:
        return sum(cell[0] for cell in list(self._cells.values()))

    def numbers(self) -> Numbers:
        return {
            series(self._name, dict(zip(self._labels, values, strict=True))): cell[0]
            for values, cell in list(self._cells.items())
        }


class Histogram:
    """A histogram of durations in seconds, with BUCKETS and at most one label."""

    def __init__(self, name: str, label: str = "") -> None:
        self._name, self._label = name, label
        self._counts: dict[str, list[float]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()

    def observe(self, seconds: float, value: str = "", weight: int = 1) -> None:
        """Count a duration `weight` times. A negative duration counts as 0: a clock may be set back."""
        seconds = max(0.0, seconds)
        at = bisect_left(BUCKETS, seconds)
        with self._lock:
            counts = self._counts.get(value)
            if counts is None:
                counts = self._counts[value] = [0] * (len(BUCKETS) + 1)
            counts[at] += weight
            self._sums[value] = self._sums.get(value, 0.0) + seconds * weight

    def numbers(self) -> Numbers:
        """Return the sum, the count and the buckets, which are cumulative as Prometheus expects."""
        found: Numbers = {}
        with self._lock:
            counted = [(value, list(counts), self._sums[value]) for value, counts in self._counts.items()]
        for value, counts, total in counted:
            labels = {self._label: value} if self._label else {}
            below = 0.0
            for bound, count in zip((*BUCKETS, float("inf")), counts, strict=True):
                below += count
                bounded = labels | {"le": "+Inf" if bound == float("inf") else f"{bound:g}"}
                found[series(f"{self._name}_bucket", bounded)] = below
            found[series(f"{self._name}_sum", labels)] = total
            found[series(f"{self._name}_count", labels)] = below
        return found


def series(name: str, labels: dict[str, str]) -> str:
    """Return a series' name in Prometheus's text format."""
    if not labels:
        return name
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


# ---- what is counted --------------------------------------------------------------------------------------

SESSION = ("allowed", "session")
"""Answer and reason of a check that a session admitted."""

checks = LabelledCounter("ikd_checks_total", "contract", "answer", "reason", most=200)
known_checks = LabelledCounter("ikd_checks_total", "contract")
"""Checks that a session admitted, answered from a cached head. They belong to `checks`; a separate counter is
faster."""

check_seconds = Histogram("ikd_check_seconds", "way")
page_seconds = Histogram("ikd_page_seconds", "status")
change_seconds = Histogram("ikd_change_in_force_seconds")
events = LabelledCounter("ikd_events_total", "kind")
sign_ins = LabelledCounter("ikd_sign_ins_total", "way", "result")
provider_calls = LabelledCounter("ikd_provider_calls_total", "host", "result")
provider_seconds = Histogram("ikd_provider_call_seconds")
spans = LabelledCounter("ikd_spans_total", "result")

ALL: tuple[LabelledCounter | Histogram, ...] = (
    *(checks, check_seconds, page_seconds, change_seconds),
    *(events, sign_ins, provider_calls, provider_seconds, spans),
)

FAILED_SIGN_INS = {
    "sign_in_failed": ("password", "failed"),
    "sign_in_limited": ("password", "limited"),
    "second_factor_failed": ("second_factor", "failed"),
    "upstream_failed": ("provider", "failed"),
}


def note_event(kind: str, methods: object = None) -> None:
    """Count an audit event. `methods` are the methods of a sign-in, from the event's details."""
    events.add(kind)
    if kind in FAILED_SIGN_INS:
        sign_ins.add(*FAILED_SIGN_INS[kind])
    elif kind == "sign_in":
        ways = sorted(map(str, methods)) if isinstance(methods, list) else []
        sign_ins.add("+".join(ways) or OTHER, "succeeded")


def numbers() -> Numbers:
    """Return all numbers that this process counted."""
    found: Numbers = {}
    for each in ALL:
        found |= each.numbers()
    for contract, count in known_checks.by_first_label().items():
        name = series("ikd_checks_total", {"contract": contract, "answer": SESSION[0], "reason": SESSION[1]})
        found[name] = found.get(name, 0) + count
    return found
