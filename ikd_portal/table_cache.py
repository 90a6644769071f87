"""Django's cache in a database table, except that errors reach the caller.

Django's own cache treats a locked or full database as "the key exists". This cache stores sign-in limits,
one-time codes and the marks of used tokens. Each of these must know whether its entry was written.
"""

from __future__ import annotations

import base64
import pickle
import time
from datetime import UTC, datetime
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import DatabaseCache
from django.db import connections, router

EMPTY_EVERY = 60.0
"""Seconds between two deletions of expired entries."""


class TableCache(DatabaseCache):
    """Each write is one statement. If several callers `add` a key at once, only one succeeds."""

    _table: str

    def __init__(self, table: str, params: dict[str, Any]) -> None:
        super().__init__(table, params)
        self._emptied_at = time.monotonic()

    def _base_set(self, mode: str, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        """Write an entry and return whether it was written. Database errors are raised."""
        connection = connections[router.db_for_write(self.cache_model_class)]
        now, expires = (
            connection.ops.adapt_datetimefield_value(moment)
            for moment in (datetime.now(UTC).replace(microsecond=0), self._expiry(timeout))
        )
        table = connection.ops.quote_name(self._table)
        with connection.cursor() as cursor:
            self._cull_if_due(connection.alias, cursor)
            if mode == "touch":
                query = f"UPDATE {table} SET expires = %s WHERE cache_key = %s AND expires >= %s"  # noqa: S608
                cursor.execute(query, [expires, key, now])
                return bool(cursor.rowcount)
            query = (
                f"INSERT INTO {table} (cache_key, value, expires) VALUES (%s, %s, %s) "  # noqa: S608
                "ON CONFLICT (cache_key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
            )
            parameters = [key, _encoded(value), expires]
            if mode == "add":
                query, parameters = f"{query} WHERE {table}.expires < %s", [*parameters, now]
            cursor.execute(query, parameters)
            return bool(cursor.rowcount)

    def delete_expired(self, limit: int) -> int:
        """Delete up to `limit` expired entries and return their number."""
        connection = connections[router.db_for_write(self.cache_model_class)]
        now = connection.ops.adapt_datetimefield_value(datetime.now(UTC).replace(microsecond=0))
        table = connection.ops.quote_name(self._table)
        some = f"SELECT cache_key FROM {table} WHERE expires < %s LIMIT %s"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE cache_key IN ({some})", [now, limit])  # noqa: S608
            return int(cursor.rowcount)

    def _expiry(self, timeout: Any) -> datetime:
        seconds = self.get_backend_timeout(timeout)
        return datetime.max.replace(microsecond=0, tzinfo=UTC) if seconds is None else _whole(seconds)

    def _cull_if_due(self, alias: str, cursor: Any) -> None:
        """Delete expired entries, and others if the table is too full. Rarely, because counting is slow."""
        if time.monotonic() - self._emptied_at < EMPTY_EVERY:
            return
        self._emptied_at = time.monotonic()
        table = connections[alias].ops.quote_name(self._table)
        cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
        count, now = cursor.fetchone()[0], datetime.now(UTC).replace(microsecond=0)
        self._cull(alias, cursor, now, count)  # type: ignore[attr-defined]  # the stubs lack this private method


def _whole(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _encoded(value: Any) -> str:
    return base64.b64encode(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)).decode("ascii")
