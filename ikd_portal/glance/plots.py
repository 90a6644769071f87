"""Small plots of recent events. The server draws them; screen readers read a table instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.db import connection
from django.db.models import IntegerField, Value
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from authgate.models import AuditEvent

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

DAYS = 14
MOST_COUNTED = 20_000
"""Events of a kind that are counted for one day at most, so that a flood cannot slow the page."""

BAR, GAP, HEIGHT = 16, 6, 64
"""Sizes in a plot, in units of its view box."""

KINDS: tuple[tuple[str, _StrPromise], ...] = (
    ("sign_in", _("Sign-ins")),
    ("refused", _("Refusals")),
    ("sign_in_failed", _("Failed sign-ins")),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of a plot: the number of events and the bar's position. `is_capped` means "or more"."""

    day: date
    count: int
    is_capped: bool
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Plot:
    """The events of one kind by day. `total` is their number, `url` the list of them."""

    kind: str
    title: _StrPromise
    bars: tuple[Bar, ...]
    total: int
    url: str

    width = DAYS * (BAR + GAP)
    height = HEIGHT
    bar_width = BAR

    @property
    def is_capped(self) -> bool:
        return any(bar.is_capped for bar in self.bars)


def plots() -> list[Plot]:
    """Return the plots of the last days, today last. One query."""
    days = _days()
    kinds = [kind for kind, _title in KINDS]
    counts = _counts([(kind, *_bounds(day)) for kind in kinds for day in days])
    events = reverse("admin:authgate_auditevent_changelist")
    found = []
    for number, (kind, title) in enumerate(KINDS):
        own = counts[number * DAYS : (number + 1) * DAYS]
        url = f"{events}?{urlencode({'kind__exact': kind})}"
        found.append(Plot(kind, title, tuple(_bars(days, own)), sum(own), url))
    return found


def _days() -> list[date]:
    today = timezone.localdate()
    return [today - timedelta(days=back) for back in reversed(range(DAYS))]


def _bounds(day: date) -> tuple[datetime, datetime]:
    begin = timezone.make_aware(datetime.combine(day, datetime.min.time()))
    return begin, timezone.make_aware(datetime.combine(day + timedelta(days=1), datetime.min.time()))


def _bars(days: Sequence[date], counts: Sequence[int]) -> Iterable[Bar]:
    most = max(counts, default=0)
    for number, (day, count) in enumerate(zip(days, counts, strict=True)):
        height = max(2, round(count / most * HEIGHT)) if count else 0
        shown = min(count, MOST_COUNTED)
        yield Bar(day, shown, count > MOST_COUNTED, number * (BAR + GAP), HEIGHT - height, height)


def _counts(wanted: Sequence[tuple[str, datetime, datetime]]) -> list[int]:
    """Return the number of events for each kind and period, at most `MOST_COUNTED` + 1.

    Each count reads one range of the index of kind and time. Grouping by day would read all events.
    """
    parts: list[str] = []
    parameters: list[Any] = []
    for number, (kind, begin, end) in enumerate(wanted):
        events = AuditEvent.objects.filter(kind=kind, at__gte=begin, at__lt=end).order_by()
        some = events.values(one=Value(1, IntegerField()))[: MOST_COUNTED + 1]
        sql, own = some.query.sql_with_params()
        parts.append(f"SELECT {number}, COUNT(*) FROM ({sql}) counted")  # noqa: S608, a number and Django's SQL
        parameters += own
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), parameters)
        found = dict(cursor.fetchall())
    return [found[number] for number in range(len(wanted))]
