"""A copy of the process's own database. Restoring it is faster than emptying every table."""

from __future__ import annotations

import sqlite3
import uuid
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.db import connection

from tests.kept_rows import KeptRows


class DatabaseCopy:
    """The contents of the database and the caches at one moment.

    `restore` restores all of them, and the counters of its keys.
    """

    def __init__(self) -> None:
        self._rows = _SqliteRows() if connection.vendor == "sqlite" else _postgresql_rows()
        self._entries = None if isinstance(caches["default"], DatabaseCache) else _RedisEntries()

    def restore(self) -> None:
        self._rows.restore()
        if self._entries:
            self._entries.restore()

    def close(self) -> None:
        self._rows.close()


class _SqliteRows:
    def __init__(self) -> None:
        connection.ensure_connection()
        self._copy = sqlite3.connect(":memory:", check_same_thread=False)
        connection.connection.backup(self._copy)

    def restore(self) -> None:
        self._copy.backup(connection.connection)

    def close(self) -> None:
        self._copy.close()


def _postgresql_rows() -> KeptRows:
    own = connection.settings_dict
    url = f"postgres://{own['USER']}@{own['HOST']}:{own['PORT']}/{own['NAME']}"
    return KeptRows(url, schema=f"kept_{uuid.uuid4().hex}")


class _RedisEntries:
    """All caches of the process. They share one database of Redis."""

    def __init__(self) -> None:
        default: Any = caches["default"]
        self._redis = default.client.get_client(write=True)
        self._kept = [(key, self._redis.dump(key), self._redis.pttl(key)) for key in self._redis.scan_iter()]

    def restore(self) -> None:
        self._redis.flushdb()
        for key, value, milliseconds in self._kept:
            self._redis.restore(key, max(milliseconds, 0), value)
