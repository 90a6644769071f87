"""The tallies of a process: counts of answers by application, person, rule and method.

Checks look up a tally and add to it. A thread of the worker collects the counts.
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
"""The name for all other methods, because clients may send any text."""

OPENID = "openid"
"""The name for the method of a sign-in by OpenID Connect."""

_NAMES: dict[str | None, str] = {None: "", "": "", OPENID: OPENID, **{method: method for method in METHODS}}

NO_RULE_ID = 0

AT_ONCE = 500
"""Tallies collected at once, under the lock for which a check may have to wait."""


SAMPLES_LIMIT = 2_000
"""Different requests that are kept until the next collection."""


class Sample(NamedTuple):
    """A request as rules see it, without its query."""

    application: int
    subject: Subject | None
    target: Target
    filters: Filters | None


class Tallies:
    """The tallies of a process. Idle tallies are removed, so their number stays bounded."""

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
        """Return the tally of an answer that is sent once, and not cached."""
        rule = decision.rule or (decision.failed[0][0] if decision.failed else NO_RULE_ID)
        key = (application, person, rule, _NAMES.get(method, OTHER), outcome)
        found = self._live.get(key)
        if found is None:
            with self._lock:
                found = self._live.setdefault(key, Tally(key))
        return found

    def kept(self, application: int, person: int, decision: Decision, method: str | None) -> Tally:
        """Return the tally of an answer that grants access and that is cached for further requests."""
        key = (application, person, decision.rule or NO_RULE_ID, _NAMES.get(method, OTHER), ALLOWED)
        with self._lock:
            found = self._live.get(key)
            if found is None:
                found = self._live[key] = Tally(key)
            found.decision, found.method = decision, method
            return found

    def watch(self, context: Context, subject: Subject | None) -> None:
        """Keep a sample of a request to an application that has a rule which only watches."""
        application, target = context.application, context.target
        sample = Sample(application.id, subject, target._replace(uri=target.path), context.query.filters)
        with self._lock:
            if sample in self._samples or len(self._samples) < SAMPLES_LIMIT:
                self._samples[sample] = self._samples.get(sample, 0) + 1
            else:
                self._beyond[application.id] += 1

    def take_samples(self) -> tuple[dict[Sample, int], Counter[int]]:
        """Return and forget the samples with their counts, and the number beyond the limit by application."""
        with self._lock:
            taken = self._samples, self._beyond
            self._samples, self._beyond = {}, Counter()
        return taken

    def collect(self) -> Counter[Key]:
        """Return the counts since the last call. Retire tallies that counted nothing.

        A retired tally is collected once more, because an answer may have looked it up just before.
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
                time.sleep(0)  # so that a waiting check gets the lock
        return found

    def _retire(self, tally: Tally) -> None:
        tally.decision = None
        if tally.key is not None:
            self._live.pop(tally.key, None)

    def clear(self) -> None:
        """Forget all counts and samples that are not collected yet."""
        self.collect()
        self.take_samples()


def _collect(tally: Tally, found: Counter[Key]) -> int:
    count = tally.count
    new = count - tally.collected
    tally.collected = count
    if new and tally.key is not None:
        found[tally.key] += new
    return new
