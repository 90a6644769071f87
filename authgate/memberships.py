"""A user's groups from database rows, and the time at which they must be read again.

The foreign keys of `accounts.models.membership` leave out ended memberships by the database's clock. This
module does so by the worker's clock. So a membership ends by the clock that is ahead.
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
"""Paths from a user, for the last columns of a query: one row for each group, or one row with NULL."""

Groups = tuple[tuple[int, str], ...]


def with_end(name: str, ends_at: datetime | None) -> str:
    """Return a name and the end of its membership, such as "staff (until 3 Mar 2027, 09:00 UTC)"."""
    return f"{name} ({until_words(ends_at)})" if ends_at is not None else name


def until_words(ends_at: datetime) -> str:
    return gettext("until %s") % date_format(timezone.localtime(ends_at), "DATETIME_FORMAT")


def groups_in(rows: Iterable[tuple[Any, ...]], now: float) -> tuple[Groups, float]:
    """Return the groups of rows that end in GROUP_FIELDS, as (id, name), and the first end of a membership.

    Times are Unix time. The end is infinite if no membership ends.
    """
    groups, until = [], math.inf
    for row in rows:  # indexed, not unpacked: rows are wide, and each check with a new session runs this
        ends_at, key = row[-3], row[-2]
        if key is None:
            continue
        if ends_at is not None:
            end = ends_at.timestamp()
            if end <= now:
                continue
            until = min(until, end)
        groups.append((key, row[-1]))
    return _interned(tuple(groups)), until


@lru_cache(maxsize=1024)
def _interned(groups: Groups) -> Groups:
    """Return an equal tuple, shared by all users with the same groups, which saves memory."""
    return groups
