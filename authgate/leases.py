"""Leases in the database, for jobs that only one process should do at a time."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from authgate.models import Lease


def hold(name: str, holder: str, seconds: float) -> bool:
    """Take or extend a lease for `seconds`. Return whether `holder` has it now.

    A lease that ends too far in the future comes from a wrong clock, and counts as free.
    """
    now = timezone.now()
    until = now + timedelta(seconds=seconds)
    is_free = Q(holder=holder) | Q(until__lt=now) | Q(until__gt=now + timedelta(seconds=2 * seconds))
    if Lease.objects.filter(is_free, name=name).update(holder=holder, until=until):
        return True
    Lease.objects.bulk_create([Lease(name=name, holder=holder, until=until)], ignore_conflicts=True)
    return Lease.objects.filter(name=name, holder=holder).exists()


def release(name: str, holder: str) -> None:
    Lease.objects.filter(name=name, holder=holder).delete()
