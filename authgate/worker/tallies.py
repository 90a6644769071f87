"""The tallies of a process, which count answers by application, person, rule and method.

Checks pick them, and a thread of the worker collects them.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from threading import Lock
from typing import NamedTuple

from authgate.check.context import Context
from authgate.check.tally import ALLOWED, Key, Tally
from authgate.decision.rules import Decision, Filters, Subject
from authgate.decision.target import Target

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
OTHER = "other"
"""Stands for every other method: clients may write any."""

OPENID = "openid"
"""Stands for the method of a sign-in by OpenID Connect."""

_NAMES: dict[str | None, str] = {None: "", "": "", OPENID: OPENID, **{method: method for method in METHODS}}

NO_RULE_ID = 0

AT_ONCE = 500
"""Tallies that are collected while a check may have to wait for the lock."""


SAMPLES_LIMIT = 2_000
"""Different requests that are kept until the next collection."""


class Sample(NamedTuple):
    """A request as rules see it, without its query."""

    application: int
    subject: Subject | None
    target: Target
    filters: Filters | None


class Tallies:
    """The tallies of a process: of the requests since the last collections, not of all that ever came."""

    def __init__(self) -> None:
        self._lock, self._collecting = Lock(), Lock()
        self._live: dict[Key, Tally] = {}
        self._retired: list[Tally] = []
        self._samples: dict[Sample, int] = {}
        self._beyond: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._live) + len(self._retired)

    def once(
        self, application: int, person: int, decision: Decision, method: str | None, outcome: str
    ) -> Tally:
        """Return the tally of an answer that is sent at once, and not kept."""
        rule = decision.rule or (decision.failed[0][0] if decision.failed else NO_RULE_ID)
        key = (application, person, rule, _NAMES.get(method, OTHER), outcome)
        found = self._live.get(key)
        if found is None:
            with self._lock:
                found = self._live.setdefault(key, Tally(key))
        return found

    def kept(self, application: int, person: int, decision: Decision, method: str | None) -> Tally:
        """Return the tally of an answer that lets in, and that is kept for further requests."""
        key = (application, person, decision.rule or NO_RULE_ID, _NAMES.get(method, OTHER), ALLOWED)
        with self._lock:
            found = self._live.get(key)
            if found is None:
                found = self._live[key] = Tally(key)
            found.decision, found.method = decision, method
            return found

    def watch(self, context: Context, subject: Subject | None) -> None:
        """Keep a sample of a request to an application that has rules which only watch."""
        application, target = context.application, context.target
        sample = Sample(application.id, subject, target._replace(uri=target.path), context.query.filters)
        with self._lock:
            if sample in self._samples or len(self._samples) < SAMPLES_LIMIT:
                self._samples[sample] = self._samples.get(sample, 0) + 1
            else:
                self._beyond[application.id] += 1

    def take_samples(self) -> tuple[dict[Sample, int], Counter[int]]:
        """Return the samples with their numbers, and how many there were beyond the limit, by application."""
        with self._lock:
            taken = self._samples, self._beyond
            self._samples, self._beyond = {}, Counter()
        return taken

    def collect(self) -> Counter[Key]:
        """Return what was counted since the last time. Tallies that counted nothing are retired.

        A retired one is collected once more: an answer may have picked it just before.
        """
        found: Counter[Key] = Counter()
        with self._collecting:
            retired, self._retired = self._retired, []
            for tally in retired:
                _collect(tally, found)
            tallies = iter(list(self._live.values()))
            while some := list(islice(tallies, AT_ONCE)):
                with self._lock:
                    idle = [tally for tally in some if not _collect(tally, found)]
                    for tally in idle:
                        self._retire(tally)
                self._retired += idle
                time.sleep(0)  # let a check go first
        return found

    def _retire(self, tally: Tally) -> None:
        tally.decision = None
        if tally.key is not None:
            self._live.pop(tally.key, None)

    def clear(self) -> None:
        """Forget everything that is not collected yet."""
        self.collect()
        self.take_samples()


def _collect(tally: Tally, found: Counter[Key]) -> int:
    count = tally.count
    new = count - tally.collected
    tally.collected = count
    if new and tally.key is not None:
        found[tally.key] += new
    return new
