"""The counts of real requests, for all pages about the use of applications.

Workers write them every 15 seconds (`authgate/worker/usage.py`). Days are in the portal's time zone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from django.conf import settings
from django.db.models import Max, Min, Q, QuerySet, Sum
from django.utils import timezone

from authgate.check.tally import NOBODY
from authgate.models import RequestCount, TrialCount
from authgate.worker.tallies import NO_RULE_ID

__all__ = ["NOBODY", "NO_RULE_ID", "Count", "counts", "last_use", "last_uses", "totals_by_rule"]


@dataclass(frozen=True, slots=True)
class Count:
    """The numbers of requests that were allowed, refused, or asked for a sign-in or a second factor.

    `person` is a user's id, or NOBODY. `rule` is the rule that admitted, or the first rule that did not;
    NO_RULE_ID if no rule covers the path.
    """

    application: int
    person: int
    rule: int
    method: str
    day: date
    allowed: int
    refused: int
    asked: int


def kept_days() -> int:
    """Return the number of days for which counts are kept."""
    return int(settings.IKD_KEEP_REQUEST_COUNTS // 86_400)


def first_kept_day() -> date:
    """Return the first day for which counts are kept. Earlier counts are deleted."""
    return timezone.localdate() - timedelta(days=kept_days())


def counted_since() -> date | None:
    """Return the first day with a count, or None if nothing was counted yet. One query."""
    found: date | None = RequestCount.objects.aggregate(first=Min("day"))["first"]
    return found


def counts(
    since: date,
    until: date | None = None,
    *,
    application: int | None = None,
    person: int | None = None,
    rules: Collection[int] | None = None,
) -> Iterator[Count]:
    """Yield the counts of a period, including both days. One query, streamed."""
    found = _counts(since, until, application, person, rules)
    fields = ("application_id", "person", "rule", "method", "day", "allowed", "refused", "asked")
    for row in found.values_list(*fields).iterator():
        yield Count(*row)


def totals_by_rule(
    since: date, until: date | None = None, *, application: int | None = None, person: int | None = None
) -> dict[int, tuple[int, int, int]]:
    """Return the numbers of requests that were allowed, refused and asked, by rule. One query."""
    found = _counts(since, until, application, person, None).order_by().values("rule")
    summed = found.annotate(Sum("allowed"), Sum("refused"), Sum("asked"))
    fields = ("rule", "allowed__sum", "refused__sum", "asked__sum")
    return {rule: (allowed, refused, asked) for rule, allowed, refused, asked in summed.values_list(*fields)}


def last_uses(
    *, application: int | None = None, person: int | None = None, since: date | None = None
) -> dict[tuple[int, int, int], date]:
    """Return the last day on which a rule admitted a person, by (application, person, rule). One query.

    Visitors who are not signed in are left out.
    """
    found = _counts(since, None, application, person, None).exclude(person=NOBODY).filter(allowed__gt=0)
    rows = found.order_by().values("application_id", "person", "rule").annotate(last=Max("day"))
    fields = ("application_id", "person", "rule", "last")
    return {(app, who, rule): last for app, who, rule, last in rows.values_list(*fields)}


def last_use(person: int, application: int) -> date | None:
    """Return the last day on which an application admitted a person, or None. One query."""
    found = RequestCount.objects.filter(person=person, application=application, allowed__gt=0)
    last: date | None = found.aggregate(last=Max("day"))["last"]
    return last


def forget_person(person: int) -> None:
    """Delete the counts of a deleted user."""
    RequestCount.objects.filter(person=person).delete()
    TrialCount.objects.filter(person=person).delete()


def _counts(
    since: date | None,
    until: date | None,
    application: int | None,
    person: int | None,
    rules: Collection[int] | None,
) -> QuerySet[RequestCount]:
    wanted = Q() if since is None else Q(day__gte=since)
    if until is not None:
        wanted &= Q(day__lte=until)
    if application is not None:
        wanted &= Q(application=application)
    if person is not None:
        wanted &= Q(person=person)
    if rules is not None:
        wanted &= Q(rule__in=rules)
    return RequestCount.objects.filter(wanted)
