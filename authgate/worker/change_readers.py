"""Readers of the change feed, for SQLite and for PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, ProgrammingError

from authgate.worker.triggers import TABLE


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes since the last reading. `everything` is set if the feed no longer has them all."""

    rows: tuple[tuple[str, int | None], ...] = ()
    everything: bool = False
    place: object = None
    """Identifies the database. It also changes if this database's tables or triggers are recreated."""


class SqliteReader:
    """Reads by id. SQLite has one writer at a time, so ids are in the order of the commits."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] | None = None

    def mark(self, cursor: Any) -> int | None:
        """Return the id of the newest row; None if the feed is empty."""
        cursor.execute(f"SELECT max(id) FROM {TABLE}")  # noqa: S608
        newest: int | None = cursor.fetchone()[0]
        return newest

    def cut(self, cursor: Any, mark: int) -> None:
        """Delete the rows before a mark. Every worker has read them long ago."""
        cursor.execute(f"DELETE FROM {TABLE} WHERE id < %s", [mark])  # noqa: S608

    def read(self, cursor: Any) -> Changes:
        """Return the changes since the last reading. Raises ProgrammingError if the feed's table is gone."""
        schema = cursor.execute("PRAGMA schema_version").fetchone()[0]
        after = self._last[0] if self._last else 0
        query = f"SELECT id, kind, key, transaction_id FROM {TABLE} WHERE id >= %s ORDER BY id"  # noqa: S608
        try:
            cursor.execute(query, [after])
        except OperationalError as error:
            if "no such table" in str(error):
                raise ProgrammingError(str(error)) from error
            raise
        rows = cursor.fetchall()
        last, self._last = self._last, rows[-1] if rows else ()
        if last and rows and rows[0] == last:
            return Changes(tuple((kind, key) for _, kind, key, _ in rows[1:]), place=schema)
        if last == ():
            return Changes(tuple((kind, key) for _, kind, key, _ in rows), place=schema)
        # The row read last is gone or differs: unread rows were deleted, or the database was replaced.
        return Changes(everything=True, place=schema)


class PostgresqlReader:
    """Reads by transaction id, from the oldest transaction that was open at the last reading.

    Rows commit out of order, so a row with a lower id may appear later.
    """

    # These values differ in a copy of our database, and in ours after a restore: `pg_dump --clean` creates
    # triggers with new numbers, `--disable-triggers` writes their rows again, and TRUNCATE starts a new file
    # for a table even if it fires no trigger.
    PLACE = """
        SELECT concat_ws(' ',
            pg_postmaster_start_time(),
            (SELECT oid FROM pg_database WHERE datname = current_database()),
            count(*), sum(t.oid::bigint), sum(t.xmin::text::bigint),
            sum(c.oid::bigint), sum(c.relfilenode::bigint)
        )
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE t.tgname LIKE 'ikd\\_%%' AND t.tgenabled IN ('O', 'A')
    """
    QUERY = f"""
        SELECT s.oldest, s.place, c.id, c.kind, c.key, c.transaction_id
        FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest, ({PLACE}) AS place) s
        LEFT JOIN {TABLE} c ON c.transaction_id >= %s
        ORDER BY c.id
    """  # noqa: S608

    def __init__(self) -> None:
        self._oldest: int | None = None
        self._known: dict[int, int] = {}

    def mark(self, cursor: Any) -> int | None:
        """Return the id of the oldest transaction that may still be open. Its rows may still appear."""
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        oldest: int = cursor.fetchone()[0]
        return oldest

    def cut(self, cursor: Any, mark: int) -> None:
        """Delete the rows committed before a mark. Every worker has read them long ago."""
        cursor.execute(f"DELETE FROM {TABLE} WHERE transaction_id < %s", [mark])  # noqa: S608

    def read(self, cursor: Any) -> Changes:
        """Return the changes since the last reading. Raises ProgrammingError if the feed's table is gone."""
        since = self._oldest
        cursor.execute(self.QUERY, [2**62 if since is None else since])
        rows = cursor.fetchall()
        oldest, place = rows[0][:2]
        new = [row for row in rows if row[2] is not None and row[2] not in self._known]
        self._oldest = oldest
        known = {row[2]: row[5] for row in rows if row[2] is not None}
        self._known = {id: transaction for id, transaction in known.items() if transaction >= oldest}
        if since is None or oldest < since:
            return Changes(everything=True, place=place)
        return Changes(tuple((kind, key) for *_, kind, key, _ in new), place=place)


def reader_for(vendor: str) -> SqliteReader | PostgresqlReader:
    return PostgresqlReader() if vendor == "postgresql" else SqliteReader()
