"""PostgreSQL databases that tests use in turn, each time as empty as a new copy of the pattern.

Copying and removing a thousand files takes longer than most tests. So each database is compared with the
pattern after a test, and its new rows are removed. If a test changed tables, triggers or settings, its
database is not used again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import psycopg

from tests.feed.cluster import Cluster
from tests.front.serving import Database, eventually
from tests.kept_rows import KeptRows

SCHEMA = """
SELECT (SELECT max(oid::bigint) || ' ' || count(*) || ' ' || sum(relfilenode::bigint)
        FROM pg_class WHERE oid >= 16384),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_attribute WHERE attrelid >= 16384),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_trigger),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_proc WHERE oid >= 16384),
       (SELECT max(xmin::text::bigint) || ' ' || count(*) FROM pg_constraint WHERE oid >= 16384),
       (SELECT string_agg(setconfig::text, ',') FROM pg_db_role_setting)
"""
OTHERS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@cache
def copies_of(cluster: Cluster) -> Copies:
    return Copies(cluster)


class Copies:
    """Copies of a cluster's pattern."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._free: list[Copy] = []

    @contextmanager
    def borrowed(self) -> Iterator[Database]:
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
    """A database, and a separate connection that empties it."""

    def __init__(self, cluster: Cluster) -> None:
        self.name = f"t{uuid.uuid4().hex}"
        self.database: Database = cluster.database(self.name, "pattern")
        self._rows = KeptRows(self.database.url, patience="1s")
        self._schema = self._rows.read(SCHEMA)

    def is_emptied(self) -> bool:
        """Remove what a test wrote. Returns False if something else has changed, or a client is connected."""
        with suppress(psycopg.Error):
            if not eventually(lambda: not self._rows.read(OTHERS), 1, 0.002):
                return False
            if self._rows.read(SCHEMA) != self._schema:
                return False
            self._rows.restore()
            return True
        return False

    def remove(self, cluster: Cluster) -> None:
        self._rows.close()
        with suppress(psycopg.Error):
            cluster.drop(self.name)
