"""A user's groups from rows of the database, with the moment from which they must be read again.

Queries leave out memberships that have ended: the foreign keys of `accounts.models.membership` do that. They
go by the database's clock, and this module by the worker's. A membership ends by whichever is first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext

GROUP_FIELDS = ("memberships__ends_at", "groups__pk", "groups__name")
"""Paths from a user, for the last columns of rows: one row for each group, or one with NULL."""

Groups = tuple[tuple[int, str], ...]


def with_end(name: str, ends_at: datetime | None) -> str:
    """Return a name with the end of a membership, such as "staff (until 3 Mar 2027, 09:00 UTC)"."""
    return f"{name} ({until_words(ends_at)})" if ends_at is not None else name


def until_words(ends_at: datetime) -> str:
    return gettext("until %s") % date_format(timezone.localtime(ends_at), "DATETIME_FORMAT")


def groups_in(rows: Iterable[tuple[Any, ...]], now: float) -> tuple[Groups, float]:
    """Return the groups, as (id, name), of rows that end in GROUP_FIELDS, and the first end of one.

    Both times are Unix time. The end is infinite if no membership has one.
    """
    groups, until = [], math.inf
    for row in rows:  # not unpacked: each cold check passes here, and rows are wide
        ends_at, key = row[-3], row[-2]
        if key is None:
            continue
        if ends_at is not None:
            end = ends_at.timestamp()
            if end <= now:
                continue
            until = min(until, end)
        groups.append((key, row[-1]))
    return _alike(tuple(groups)), until


@lru_cache(maxsize=1024)
def _alike(groups: Groups) -> Groups:
    """Return these groups as the object that everybody in them shares."""
    return groups
