"""The deletion of old entries of the journal, except those from which later moments are rebuilt."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef, Q

from authgate.journal import triggers
from authgate.models import JournalEntry, JournalGap


def delete(before: datetime, batch: int) -> int:
    """Delete at most `batch` entries that no moment since `before` needs. Return their number.

    The newest entry of each row stays at any age, unless it is a deletion. Older entries of a row are deleted
    first, so that none of them becomes the row's newest.
    """
    newer = JournalEntry.objects.filter(
        table_name=OuterRef("table_name"), key=OuterRef("key"), pk__gt=OuterRef("pk"), at__lt=before
    )
    old = JournalEntry.objects.filter(Q(after__isnull=True) | Exists(newer), at__lt=before).order_by("pk")
    keys = list(old.values_list("pk", flat=True)[:batch])
    if not keys:
        return 0
    with triggers.passing():
        JournalEntry.objects.filter(pk__in=keys).delete()
        JournalGap.objects.update_or_create(
            reason=JournalGap.RETENTION, defaults={"since": None, "until": before}
        )
        JournalGap.objects.filter(until__lte=before).exclude(reason=JournalGap.RETENTION).delete()
    return len(keys)
