"""Gaps: periods in which the journal lacks changes."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Max, Q
from django.utils import timezone

from authgate.models import AuditEvent, JournalEntry, JournalGap

LAST_YEAR = 9998
"""The last year of a known moment. Dates end with the next year, and time zones shift them."""


class UnknownMoment(ValueError):
    """The journal does not know the state at a moment.

    `reason` is one of JournalGap's reasons, or "future" for a moment beyond LAST_YEAR. `until` is the time
    from which the journal knows the state again, or None.
    """

    def __init__(self, reason: str, until: datetime | None) -> None:
        super().__init__(f"{reason} {until}")
        self.reason, self.until = reason, until


def require_known(at: datetime) -> None:
    """Raise UnknownMoment unless the journal knows every change until a moment.

    For a moment in the future, it must know every change until the present.
    """
    if at.year > LAST_YEAR:
        raise UnknownMoment("future", None)
    at = min(at, timezone.now())
    begun, ended = Q(since=None) | Q(since__lte=at), Q(until=None) | Q(until__gt=at)
    gap = JournalGap.objects.filter(begun, ended).order_by("-until").first()
    if gap is not None:
        raise UnknownMoment(gap.reason, gap.until)
    if not JournalEntry.objects.filter(at__lte=at).exists():
        first = JournalEntry.objects.order_by("at").first()
        raise UnknownMoment(JournalGap.BEGINNING, first.at if first else None)


def note_restored() -> None:
    """Record a gap from the newest entry of a restored backup until now."""
    moments = [model.objects.aggregate(newest=Max("at"))["newest"] for model in (JournalEntry, AuditEvent)]
    newest = max(filter(None, moments), default=None)
    JournalGap.objects.create(since=newest, until=timezone.now(), reason=JournalGap.RESTORED)
