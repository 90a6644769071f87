"""The comparison of rules that only watch with the actual decisions. It runs outside of checks."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from django.utils import timezone

from authgate.check.tally import NOBODY
from authgate.decision.evaluation import decide
from authgate.decision.rules import Verdict
from authgate.models import TrialCount
from authgate.worker import loader
from authgate.worker.counter_rows import CounterRows
from authgate.worker.loader import Trial
from authgate.worker.tallies import Sample, Tallies

_CHANGES = {
    Verdict.ALLOW: TrialCount.Change.ADMITTED,
    Verdict.REFUSE: TrialCount.Change.REFUSED,
    Verdict.SIGN_IN: TrialCount.Change.ASKED,
    Verdict.STEP_UP: TrialCount.Change.ASKED,
}
COUNTERS = CounterRows(TrialCount, ("day", "rule", "version", "person", "change"), ("count",))
Counted = Counter[tuple[int, str, int, str]]
"""Counts of requests by rule, version, person and change."""


def write_trials(source: Tallies) -> None:
    """Compare the samples taken since the last call, and add the results to the rows of the day.

    If the database raises an error, the samples are lost. They help administrators, and are not a record.
    """
    samples, beyond = source.take_samples()
    if not samples:
        return
    of_application: dict[int, list[tuple[Sample, int]]] = defaultdict(list)
    for sample, count in samples.items():
        of_application[sample.application].append((sample, count))
    counted: Counted = Counter()
    for trial in loader.load_trials(list(of_application)):
        counted += compared(trial, of_application[trial.without.id], time.time())
        if left_out := beyond[trial.without.id]:
            counted[trial.rule, trial.version, NOBODY, TrialCount.Change.LEFT_OUT.value] += left_out
    today = timezone.localdate()
    COUNTERS.add({(today, *key): (count,) for key, count in counted.items()})


def compared(trial: Trial, samples: Iterable[tuple[Sample, int]], moment: float) -> Counted:
    """Return how many requests of each person the trial's rule would have decided differently, or the same.

    `moment` is Unix time.
    """
    found: Counted = Counter()
    for sample, count in samples:
        asked = sample.target, sample.subject, moment, sample.filters
        before, after = decide(trial.without, *asked).verdict, decide(trial.with_it, *asked).verdict
        change = TrialCount.Change.NONE if before is after else _CHANGES[after]
        person = NOBODY if sample.subject is None else sample.subject.user_id
        found[trial.rule, trial.version, person, change.value] += count
    return found
