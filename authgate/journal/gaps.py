"""Times of which the journal does not know every change."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Max, Q
from django.utils import timezone

from authgate.models import AuditEvent, JournalEntry, JournalGap

LAST_YEAR = 9998
"""Dates end with the next one, and with it some time zones."""


class UnknownMoment(ValueError):
    """The journal does not know the state at a moment.

    `reason` is one of JournalGap's reasons, or "future" if no calendar has it. `until` is when it knows the
    state again, or None.
    """

    def __init__(self, reason: str, until: datetime | None) -> None:
        super().__init__(f"{reason} {until}")
        self.reason, self.until = reason, until


def require_known(at: datetime) -> None:
    """Raise UnknownMoment unless the journal knows every change until a moment.

    Nobody knows the changes to come, so a moment in the future is as known as the present.
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
    """Note that the state since the newest row of the backup until now is not known."""
    moments = [model.objects.aggregate(newest=Max("at"))["newest"] for model in (JournalEntry, AuditEvent)]
    newest = max(filter(None, moments), default=None)
    JournalGap.objects.create(since=newest, until=timezone.now(), reason=JournalGap.RESTORED)
