"""A lock for migrations: if several portals start together, one migrates and the others wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

LOCK = 4_917_263_058
"""The number of the PostgreSQL advisory lock."""

PAUSE = 0.5
"""Seconds between two attempts."""


@contextmanager
def turn_to_migrate(progress: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process migrates, and keep others waiting meanwhile. SQLite has no such lock.

    A transaction on a separate connection holds the lock, so it also works with PgBouncer's transaction
    pooling. The lock ends with the process. Raises DatabaseError.
    """
    if connection.vendor != "postgresql":
        yield
        return
    own = connection.copy()
    try:
        own.set_autocommit(False)
        _wait(own, progress)
        yield
    finally:
        own.close()


def _wait(own: BaseDatabaseWrapper, progress: Callable[[str], None]) -> None:
    with own.cursor() as cursor:
        says = True
        while not _is_ours(cursor):
            if says:
                progress("Waiting for another portal that migrates the database …")
                says = False
            time.sleep(PAUSE)


def _is_ours(cursor: CursorWrapper) -> bool:
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
    row = cursor.fetchone()
    return row is not None and bool(row[0])
