"""The decisions that rules which only watch would have made about real requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from authgate.check.tally import NOBODY
from authgate.models import TrialCount
from authgate.worker import loader

Change = TrialCount.Change
DIFFERENT = (Change.REFUSED, Change.ASKED, Change.ADMITTED)


@dataclass(slots=True)
class People:
    """The numbers of requests, by person and for visitors, that a rule would have changed in one way."""

    requests: dict[int, int] = field(default_factory=dict)
    of_visitors: int = 0

    @property
    def total(self) -> int:
        return self.of_visitors + sum(self.requests.values())


@dataclass(slots=True)
class Result:
    """The results of a rule since it was last changed. `since` is None if there was no request."""

    since: date | None = None
    changes: dict[str, People] = field(default_factory=lambda: {each.value: People() for each in Change})

    def of(self, change: str) -> People:
        return self.changes[change]

    @property
    def compared(self) -> int:
        return sum(self.of(each).total for each in (Change.NONE, *DIFFERENT))

    @property
    def different(self) -> int:
        return sum(self.of(each).total for each in DIFFERENT)

    @property
    def left_out(self) -> int:
        return self.of(Change.LEFT_OUT).total

    @property
    def people(self) -> int:
        """Return the number of people who sent the compared requests."""
        return len({person for each in (Change.NONE, *DIFFERENT) for person in self.of(each).requests})


def results(application: int) -> dict[int, Result]:
    """Return the results of an application's rules that only watch, by rule. Four queries."""
    versions = {trial.rule: trial.version for trial in loader.load_trials([application])}
    found = {rule: Result() for rule in versions}
    rows = TrialCount.objects.filter(rule__in=versions).order_by("day")
    for rule, version, day, person, change, count in rows.values_list(
        "rule", "version", "day", "person", "change", "count"
    ):
        if version == versions[rule] and change in found[rule].changes:
            _add(found[rule], day, person, change, count)
    return found


def _add(result: Result, day: date, person: int, change: str, count: int) -> None:
    result.since = result.since or day
    people = result.of(change)
    if person == NOBODY:
        people.of_visitors += count
    else:
        people.requests[person] = people.requests.get(person, 0) + count
