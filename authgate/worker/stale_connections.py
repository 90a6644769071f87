"""Connections to a database that is no longer the one that is configured.

A database can be replaced while the portal runs: an older copy is restored, a file is moved into its place, a
pooler or a name leads to another server. A connection that was opened before still shows what was there then.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

log = logging.getLogger("ikd.feed")


class Overwritten(OperationalError):
    """Another database was written over SQLite's file while connections had it open."""


@dataclass(frozen=True, slots=True)
class File:
    """Which file a path names: a file that is moved there has another number."""

    device: int
    number: int


class _Seen:
    """What this process knows of the database. Guarded by `lock`."""

    lock = threading.Lock()
    epoch = 0
    """Moves when the change feed's reader finds another database: every connection is then too old."""

    file: File | None = None
    wal: int | None = None
    """The number of the write-ahead log that belongs to `file`."""

    written_at = 0
    mark: tuple[int, int] | None = None
    """What only grows in SQLite's file: the number of its schema, and how many rows were ever inserted."""


_abandoned: list[Any] = []
"""SQLite's connections to a replaced file. Closing the last would delete the new file's log by its name."""


def watch() -> None:
    """Record when each connection was opened. Called once, when Django is set up."""
    connection_created.connect(_note_opened, dispatch_uid="stale_connections")


def expire_all() -> None:
    """Make every thread open a new connection before its next query."""
    with _Seen.lock:
        _Seen.epoch += 1


def close_stale() -> None:
    """Close this thread's connection if another database has taken the place of its own.

    Raises Overwritten if another database was written into the open file of SQLite: connections then show
    a mixture of both, and only a restart of the portal helps.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]  # Django's proxy looks it up for each attribute
    if connection.vendor == "sqlite":
        _look_at_file(connection)
    if connection.connection is None or connection.in_atomic_block:
        return
    if getattr(connection, "opened_at", None) in (None, _origin_of(connection)):
        return
    if connection.vendor == "sqlite":
        _abandoned.append(connection.connection)
        connection.connection = None
    connection.close()


def _note_opened(connection: BaseDatabaseWrapper, **_: Any) -> None:
    connection.opened_at = _origin_of(connection)  # type: ignore[attr-defined]


def _origin_of(connection: BaseDatabaseWrapper) -> tuple[int, File | None]:
    return _Seen.epoch, _file(_path(connection)) if connection.vendor == "sqlite" else None


def _path(connection: BaseDatabaseWrapper) -> Path:
    return _path_of(connection.settings_dict["NAME"])


@lru_cache(maxsize=8)
def _path_of(name: str | Path) -> Path:
    """Return the same Path each time. Each look-up needs it, and to build one takes longer than to use it."""
    return Path(name)


def _file(path: Path) -> File | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return File(found.st_dev, found.st_ino)


def _look_at_file(connection: BaseDatabaseWrapper) -> None:
    path = _path(connection)
    try:
        found = path.stat()
    except (OSError, ValueError):  # a database in memory, or a file that is being replaced
        return
    file = File(found.st_dev, found.st_ino)
    with _Seen.lock:
        if file != _Seen.file:
            if _Seen.file is not None:
                log.warning("the database file was replaced by another: all connections are opened again")
                _set_log_aside(path)
            _Seen.file, _Seen.mark, _Seen.written_at = file, None, 0
        _Seen.wal = _number(_beside(path, "-wal"))
        if found.st_mtime_ns != _Seen.written_at:
            _compare_marks(path, found.st_mtime_ns)


def _set_log_aside(path: Path) -> None:
    """Rename the write-ahead log of the file that was there: SQLite would replay it into the new file."""
    if _Seen.wal is None or _number(_beside(path, "-wal")) != _Seen.wal:
        return
    with suppress(FileNotFoundError):
        _beside(path, "-wal").rename(_beside(path, "-wal.replaced"))
        _beside(path, "-shm").unlink()


@lru_cache(maxsize=32)
def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _number(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _compare_marks(path: Path, written_at: int) -> None:
    """Raise Overwritten if the file itself, without its log, is older than it was."""
    mark = _mark(path)
    if mark is None:
        return
    if _Seen.mark is not None and mark < _Seen.mark:
        raise Overwritten(
            f"another database was copied over {path} while the portal had it open. Stop the portal, delete "
            f"{path}-wal and {path}-shm, copy the database again and start the portal"
        )
    _Seen.mark, _Seen.written_at = mark, written_at


def _mark(path: Path) -> tuple[int, int] | None:
    """Return the file's growing counter, read past SQLite's locks and log; None while half written."""
    try:
        raw = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)
    except sqlite3.Error:
        return None
    try:
        (schema,) = raw.execute("PRAGMA schema_version").fetchone()
        (inserted,) = raw.execute("SELECT coalesce(sum(seq), 0) FROM sqlite_sequence").fetchone()
    except sqlite3.Error:
        return None
    finally:
        raw.close()
    return int(schema), int(inserted)


def forget() -> None:
    """Forget which database was seen, and let go of connections to earlier ones."""
    with _Seen.lock:
        _Seen.file = _Seen.wal = _Seen.mark = None
        _Seen.written_at = 0
        _abandoned.clear()
