"""The portals' databases: SQLite files, or those of a separate PostgreSQL server (DATABASE=postgresql)."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import servers

NEEDS: dict[str, dict[str, str]] = {
    "sqlite": {},
    "postgresql": {"initdb": "postgresql", "postgres": "postgresql"},
}
KINDS = tuple(NEEDS)
NOTES = {"sqlite": "SQLite", "postgresql": "PostgreSQL, whose own CPU time is in no figure"}

Make = Callable[[Path, Path | None], Path]
"""Creates a portal's folder and database, both empty or copies of another portal's."""


@contextmanager
def started(kind: str, folder: Path) -> Iterator[Make]:
    """Provide databases of that kind while the block runs."""
    if kind == "sqlite":
        yield _make_folder
        return
    with _postgresql(folder) as server:
        yield lambda var, pattern: _make_database(server.address[1], var, pattern)


def _make_folder(var: Path, pattern: Path | None) -> Path:
    if pattern:
        return shutil.copytree(pattern, var)
    var.mkdir()
    return var


def _make_database(port: int, var: Path, pattern: Path | None) -> Path:
    template = f' TEMPLATE "{pattern.name}"' if pattern else ""
    with psycopg.connect(_url(port, "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{var.name}"{template}'.encode())
    _make_folder(var, pattern)
    servers.name_database(var, _url(port, var.name))
    return var


def _url(port: int, name: str) -> str:
    return f"postgres://ikd@127.0.0.1:{port}/{name}"


@contextmanager
def _postgresql(folder: Path) -> Iterator[servers.Server]:
    """Run PostgreSQL on the server's core. As root it refuses to run, so another user runs it then."""
    place, port, user = folder / "postgresql", servers.free_port(), _unprivileged_user()
    place.mkdir()
    if user:
        shutil.chown(place, user)
    data = ["-D", str(place / "data")]
    make = [servers.program("initdb") or "", *data, "-U", "ikd", "--auth=trust", "--no-sync", "-E", "UTF8"]
    done = subprocess.run(
        [*make, "--locale=C.UTF-8"], cwd=place, user=user, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": place,
        "max_connections": 100,
        "shared_buffers": "512MB",
        "max_wal_size": "4GB",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [servers.program("postgres") or "", *data, *options]
    with servers.running("PostgreSQL", command, port, folder / "postgresql.log", user=user) as server:
        _wait_for(port)
        yield server


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def _wait_for(port: int) -> None:
    """Wait until the server accepts clients. It listens slightly earlier."""
    until = time.monotonic() + servers.STARTS_WITHIN
    while True:
        try:
            psycopg.connect(_url(port, "postgres")).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def fill(var: Path, wanted: str) -> str:
    """Fill a portal's database in another process, and return what `benchmarks.data` prints."""
    command = [sys.executable, "-m", "benchmarks.data", *([wanted] if wanted else [])]
    done = subprocess.run(
        command, env=os.environ | servers.environment(var), cwd=servers.ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


class Database:
    """A direct connection to a portal's database. SQL names its values as `:name`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._is_sqlite = isinstance(connection, sqlite3.Connection)
        self.kind = KINDS[0] if self._is_sqlite else KINDS[1]

    def row(self, sql: str, values: dict[str, Any]) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._execute(sql, values).fetchone()
        return found

    def change(self, sql: str, values: dict[str, Any]) -> float:
        """Change a row in a transaction. Return the monotonic time just before its commit."""
        self._execute("BEGIN IMMEDIATE" if self._is_sqlite else "BEGIN", {})
        self._execute(sql, values)
        committed = time.monotonic()
        self._execute("COMMIT", {})
        return committed

    def _execute(self, sql: str, values: dict[str, Any]) -> Any:
        if self._is_sqlite:
            return self._connection.execute(sql, values)
        return self._connection.execute(re.sub(r":(\w+)", r"%(\1)s", sql), values)


@contextmanager
def opened(var: Path) -> Iterator[Database]:
    """Open a direct connection to a portal's database."""
    url = servers.database_url(var)
    connection: Any
    if url:
        connection = psycopg.connect(url, autocommit=True)
    else:
        connection = sqlite3.connect(var / "ikd.sqlite3", isolation_level=None)
        connection.execute("PRAGMA busy_timeout = 10000")
        connection.execute("PRAGMA synchronous = NORMAL")
    with closing(connection):
        yield Database(connection)
