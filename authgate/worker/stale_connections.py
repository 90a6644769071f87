"""Detection of connections to a database that has been replaced.

A database can be replaced while the portal runs: an operator restores an older copy, moves another file into
its place, or points a pooler or a name to another server. An older connection still shows the old data.
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
    """The identity of a file: device and inode. A file that is moved into its place has another inode."""

    device: int
    number: int


class _Seen:
    """What this process has seen of the database. `lock` guards it."""

    lock = threading.Lock()
    epoch = 0
    """Rises when the change feed's reader finds another database. All earlier connections are then stale."""

    file: File | None = None
    wal: int | None = None
    """The inode of the write-ahead log that belongs to `file`."""

    written_at = 0
    mark: tuple[int, int] | None = None
    """Two numbers that only grow in SQLite's file: its schema version, and the rows ever inserted."""


_abandoned: list[Any] = []
"""SQLite connections to a replaced file. They stay open: closing the last one would delete the log of the new
file, which has the same name."""


def watch() -> None:
    """Record the epoch and file of each new connection. Call it once, when Django is set up."""
    connection_created.connect(_note_opened, dispatch_uid="stale_connections")


def expire_all() -> None:
    """Make every thread open a new connection before its next query."""
    with _Seen.lock:
        _Seen.epoch += 1


def close_stale() -> None:
    """Close this thread's connection if its database has been replaced.

    Raises Overwritten if another database was written into SQLite's open file. Connections then show a
    mixture of both, and the portal must be restarted.
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
    """Record the epoch and file of a new connection, and the write-ahead log that it uses.

    The connection's first read creates the log if there is none. It must be recorded at once: if the file is
    replaced first, SQLite replays the log into the new file.
    """
    origin = _origin_of(connection)
    connection.opened_at = origin  # type: ignore[attr-defined]  # an attribute of our own
    if connection.vendor == "sqlite":
        connection.connection.execute("PRAGMA schema_version").fetchone()
        with _Seen.lock:
            if _Seen.file in (None, origin[1]):
                _Seen.file, _Seen.wal = origin[1], _number(_beside(_path(connection), "-wal"))


def _origin_of(connection: BaseDatabaseWrapper) -> tuple[int, File | None]:
    return _Seen.epoch, _file(_path(connection)) if connection.vendor == "sqlite" else None


def _path(connection: BaseDatabaseWrapper) -> Path:
    return _path_of(connection.settings_dict["NAME"])


@lru_cache(maxsize=8)
def _path_of(name: str | Path) -> Path:
    """Return a cached Path. Each look-up needs it, and creating one takes longer than using it."""
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
    """Rename the write-ahead log of the old file. Otherwise SQLite would replay it into the new file."""
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
    """Raise Overwritten if the file itself, without its log, is older than when it was last read."""
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
    """Return the numbers that only grow in a file, or None if it is half written. Ignore locks and log."""
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
    """Forget which database was seen, and release the connections to earlier ones."""
    with _Seen.lock:
        _Seen.file = _Seen.wal = _Seen.mark = None
        _Seen.written_at = 0
        _abandoned.clear()
