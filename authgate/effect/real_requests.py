"""The real requests of the last days that a change would have decided differently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from django.utils import timezone

from authgate.effect.values import Difference, Effect, people_of
from authgate.usage.requests import NOBODY, Count, counted_since, counts

DAYS = 7
"""Days before today with requests that count. Today's requests count too."""

FEW = 20
"""Applications, at most, that a query names one by one."""

Wanted = dict[tuple[int, int], set[int]]
"""The people with requests that count, by application and rule."""


@dataclass(frozen=True, slots=True)
class RealRequests:
    """Requests since a day: admitted ones that a change would refuse, and refused ones that it would admit.

    Visitors who are not signed in do not count as people, but their requests count. Counts have no paths. So
    unless `is_exact`, the change may affect fewer requests than `refused`.
    """

    since: date
    refused: int
    refused_people: int
    admitted: int
    admitted_people: int
    is_exact: bool


def real_requests(effect: Effect) -> RealRequests | None:
    """Return the real requests that a change affects, or None if nothing was counted yet."""
    first = counted_since()
    if first is None:
        return None
    since = max(first, timezone.localdate() - timedelta(days=DAYS))
    refusing = (*effect.lost, *effect.closed)
    lost, gained = _wanted(refusing), _wanted(effect.gained)
    refused, admitted, users, comers = 0, 0, set(), set()
    for count in _counts(since, (*refusing, *effect.gained)):
        key = (count.application, count.rule)
        if count.allowed and count.person in lost.get(key, ()):
            refused += count.allowed
            users.add(count.person)
        came = count.refused + (count.asked if count.person == NOBODY else 0)
        if came and count.person in gained.get(key, ()):
            admitted += came
            comers.add(count.person)
    is_exact = all(each.is_whole for each in refusing)
    people = [len(found - {NOBODY}) for found in (users, comers)]
    return RealRequests(since, refused, people[0], admitted, people[1], is_exact)


def _wanted(differences: Iterable[Difference]) -> Wanted:
    found: Wanted = {}
    for each in differences:
        people = {person.id for person in each.people} | ({NOBODY} if each.visitors else set())
        for rule in each.rules:
            found.setdefault((each.application, rule), set()).update(people)
    return found


def _counts(since: date, differences: tuple[Difference, ...]) -> Iterator[Count]:
    """Yield the counts that may matter: of one person, of some applications, or of some rules."""
    people = people_of(differences)
    if len(people) == 1 and not any(each.visitors for each in differences):
        yield from counts(since, person=min(people))
        return
    rules: dict[int, set[int]] = {}
    for each in differences:
        rules.setdefault(each.application, set()).update(each.rules)
    if len(rules) > FEW:
        yield from counts(since, rules=set().union(*rules.values()))
        return
    for application, some in rules.items():
        yield from counts(since, application=application, rules=some)
