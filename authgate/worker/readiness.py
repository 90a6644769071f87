"""The readiness of this worker: the database accepts writes, Redis answers, and memory is fresh."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from importlib import import_module
from pathlib import Path

from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.utils import timezone

from authgate.pages.outage import outage_in
from authgate.worker import database_timeout, feed, migrations, stale_connections

log = logging.getLogger("ikd.pages")

WRITE_EVERY = 5.0
"""Seconds between two attempts to write, because any client may request `/readyz`."""

DATABASE_TIMEOUT = 2.0
"""Seconds that the database may take for one answer here."""

ROOM = 1 << 20
"""Bytes that must be free on the disk of SQLite's file. Even on a full disk, SQLite's log may have room."""

KEY = "readiness"
"""The key of the row that is written. No session has this key, because theirs are digests."""


class _LastWrite:
    lock = threading.Lock()
    at = -1e9
    trouble: str | None = None


class _Migrated:
    completely = False


def trouble() -> str | None:
    """Return the reason why this worker cannot serve, in English, or None if it can."""
    try:
        with database_timeout.limited_to(DATABASE_TIMEOUT):
            stale_connections.close_stale()
            return stale_memory() or last_write() or _missing_migrations()
    except Exception as error:
        return words_for(error)


def stale_memory() -> str | None:
    """Return why this process's memory cannot answer, or None. A process without memory asks the database."""
    worker = feed.current
    if worker is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM authgate_application LIMIT 1")
        return None
    worker.ensure_fresh()
    return None if worker.is_fresh() else f"this worker's memory is stale: {worker.trouble()}"


def last_write() -> str | None:
    """Try to write, at most every WRITE_EVERY seconds. Return the last attempt's error, or None."""
    if not _LastWrite.lock.acquire(blocking=False):
        return _LastWrite.trouble
    try:
        if feed.boottime() - _LastWrite.at > WRITE_EVERY:
            _LastWrite.trouble = _write()
            _LastWrite.at = feed.boottime()
        return _LastWrite.trouble
    finally:
        _LastWrite.lock.release()


def _missing_migrations() -> str | None:
    """Return a message if migrations are missing, or None. Once all are applied, do not look again."""
    if not _Migrated.completely and migrations.missing():
        return "the database is older than the portal: run migrate"
    _Migrated.completely = True
    return None


def _write() -> str | None:
    try:
        if _is_disk_full():
            return "the disk of the database is full"
        _write_row()
        caches["codes"].set(KEY, os.getpid(), 60)
    except Exception as error:
        return words_for(error)
    return None


def _write_row() -> None:
    """Write a row to the table of sessions. The ORM's insert would take 5 MB in a process for checks."""
    session = import_module(settings.SESSION_ENGINE).SessionStore.get_model_class()
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {session._meta.db_table} (session_key, session_data, expire_date) "  # noqa: S608
            "VALUES (%s, %s, %s) ON CONFLICT (session_key) "
            "DO UPDATE SET session_data = excluded.session_data, expire_date = excluded.expire_date",
            [KEY, str(os.getpid()), now],
        )


def _is_disk_full() -> bool:
    file = Path(str(connection.settings_dict["NAME"]))
    return connection.vendor == "sqlite" and file.is_file() and shutil.disk_usage(file).free < ROOM


def words_for(error: Exception) -> str:
    """Log an error, and return a text about it that users may read."""
    outage = outage_in(error)
    log.warning("the portal is not ready: %s", error)
    return outage.value if outage is not None else "the database does not answer"
