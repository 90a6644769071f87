"""Maintenance of SQLite's file: returns free pages to the disk and updates the planner's statistics.

PostgreSQL does both by itself (autovacuum).
"""

from __future__ import annotations

from django.db import connection, connections

INCREMENTAL = 2
LEAST_FREE_PAGES = 2_000
"""Free pages that a file keeps for new rows: 8 MB."""

PAGES_AT_ONCE = 500
"""Pages that one transaction returns to the disk."""


def choose_vacuum(using: str) -> None:
    """Make a new, empty file able to shrink (auto_vacuum). A file with tables needs `compact` for that."""
    database = connections[using]
    if database.vendor != "sqlite" or database.in_atomic_block:
        return
    with database.cursor() as cursor:
        if not cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
            cursor.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
            cursor.execute("VACUUM")


def compact() -> None:
    """Rewrite the whole file without its free pages. Other writes have to wait."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def maintain() -> None:
    """Return free pages to the disk, a few at a time, and update the planner's statistics."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA analysis_limit = 1000")
        cursor.execute("PRAGMA optimize")
        if _number("auto_vacuum") != INCREMENTAL:
            return
        while (before := _number("freelist_count")) > max(LEAST_FREE_PAGES, _number("page_count") // 10):
            cursor.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
            if _number("freelist_count") >= before:
                return


def _number(pragma: str) -> int:
    with connection.cursor() as cursor:
        return int(cursor.execute(f"PRAGMA {pragma}").fetchone()[0])
