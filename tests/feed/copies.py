"""PostgreSQL databases that tests use one after another, each time as empty as a new copy of the pattern.

Copying and removing a thousand files takes longer than most tests. What a test wrote is found by comparison.
A database whose tables, triggers or settings were changed is not used again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg
from psycopg import sql

from tests.feed.cluster import Cluster
from tests.front.serving import Database, eventually

SCHEMA = """
SELECT (SELECT max(oid::bigint) || ' ' || count(*) || ' ' || sum(relfilenode::bigint)
        FROM pg_class WHERE oid >= 16384),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_attribute WHERE attrelid >= 16384),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_trigger),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_proc WHERE oid >= 16384),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_constraint WHERE oid >= 16384),
       (SELECT string_agg(setconfig::text, ',') FROM pg_db_role_setting)
"""
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
OTHERS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
SEQUENCES = """
SELECT oid::regclass::text, pg_sequence_last_value(oid) FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""
HAS_ROWS = "EXISTS (TABLE {0})"
HAS_OTHER_ROWS = (
    "EXISTS ((TABLE {0} EXCEPT ALL TABLE first.{0}) UNION ALL (TABLE first.{0} EXCEPT ALL TABLE {0}))"
)


@cache
def copies_of(cluster: Cluster) -> Copies:
    return Copies(cluster)


class Copies:
    """Copies of a cluster's pattern."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._free: list[Copy] = []

    @contextmanager
    def lent(self) -> Iterator[Database]:
        copy = self._emptied()
        yield copy.database
        self._free.append(copy)

    def _emptied(self) -> Copy:
        while self._free:
            copy = self._free.pop()
            if copy.is_emptied():
                return copy
            copy.remove(self._cluster)
        return Copy(self._cluster)


class Copy:
    """A database, and a connection of its own that empties it."""

    def __init__(self, cluster: Cluster) -> None:
        self.name = f"t{uuid.uuid4().hex}"
        self.database: Database = cluster.database(self.name, "pattern")
        self._connection = psycopg.connect(
            self.database.url,
            autocommit=True,
            options="-c lock_timeout=1s -c session_replication_role=replica",
        )
        tables = [name for (name,) in self._read(TABLES)]
        self._filled = set(self._those(dict.fromkeys(tables, HAS_ROWS)))
        self._connection.execute("CREATE SCHEMA first")
        for table in self._filled:
            self._execute("CREATE TABLE first.{0} AS TABLE {0}", table)
        self._is_written = {table: HAS_OTHER_ROWS if table in self._filled else HAS_ROWS for table in tables}
        self._sequences = self._read(SEQUENCES)
        self._schema = self._read(SCHEMA)

    def is_emptied(self) -> bool:
        """Remove what a test wrote. Return False if something else has changed, or somebody is connected."""
        with suppress(psycopg.Error):
            if not eventually(lambda: not self._read(OTHERS), 1, 0.002) or self._read(SCHEMA) != self._schema:
                return False
            for table in self._those(self._is_written):
                self._execute("DELETE FROM {0}", table)
                if table in self._filled:
                    self._execute("INSERT INTO {0} TABLE first.{0}", table)
            self._set_sequences_back()
            return True
        return False

    def remove(self, cluster: Cluster) -> None:
        self._connection.close()
        with suppress(psycopg.Error):
            cluster.drop(self.name)

    def _set_sequences_back(self) -> None:
        first = dict(self._sequences)
        for name, _ in set(self._read(SEQUENCES)) - set(self._sequences):
            values = (name, first[name] or 1, first[name] is not None)
            self._connection.execute("SELECT setval(%s, %s, %s)", values)

    def _those(self, conditions: dict[str, str]) -> list[str]:
        """Return the tables whose condition holds, by one query."""
        cases = [
            _about(f"CASE WHEN {condition} THEN {{1}} END", table) for table, condition in conditions.items()
        ]
        query = sql.SQL("SELECT array_remove(ARRAY[{}], NULL)").format(sql.SQL(", ").join(cases))
        return list(self._read(query)[0][0])

    def _execute(self, statement: str, table: str) -> None:
        self._connection.execute(_about(statement, table))

    def _read(self, query: str | sql.Composed) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()


def _about(text: str, table: str) -> sql.Composed:
    """Return SQL with a table for {0}, and its name as a text for {1}."""
    return sql.SQL(text).format(sql.Identifier(table), sql.Literal(table))
