"""A temporary PostgreSQL cluster. It starts without Debian's service, and ends with the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.front.serving import Database, children, eventually, free_port, migrate, program
from tests.memory_folder import memory_folder
from tests.pattern import created_once

FOLDERS = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


class Cluster:
    """PostgreSQL on a free port of 127.0.0.1. It refuses to run as root, so it uses another user then.

    `data` is the folder of a cluster that has ended. The new cluster starts with a copy of it.
    """

    def __init__(self, data: Path | None = None) -> None:
        initdb = program("initdb", "postgresql", *FOLDERS)
        self._postgres = str(Path(initdb).with_name("postgres"))
        self._user = _other_user() if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="ikd-tests-postgresql-", dir=memory_folder() or "/tmp"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.data = self.folder / "data"
        if data is not None:
            self._run(["cp", "-R", str(data), str(self.data)])
        else:
            self._fill(initdb)

    def _fill(self, initdb: str) -> None:
        options = ["-D", str(self.data), "-U", "ikd", "--auth=trust", "--no-sync", "-E", "UTF8"]
        self._run([initdb, *options, "--locale=C.UTF-8"])

    def start(self, **more: object) -> Cluster:
        """Start the server; `more` are settings of PostgreSQL."""
        settings: dict[str, object] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_wal_size": "128MB",
            "max_connections": 60,
            "shared_buffers": "16MB",
            **more,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._postgres, "-D", str(self.data), *options],
                cwd=self.folder, user=self._user, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if not eventually(self._is_up):
            raise RuntimeError((self.folder / "log").read_text()[-2000:])
        self._version = int(self.rows("SHOW server_version_num")[0][0]) // 10_000
        return self

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the server. SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one."""
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.send_signal(number)
            self.process.wait(60)

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def suspend(self) -> None:
        """Stop every process of the server with SIGSTOP: connections stay open, and no answer comes."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def database(self, name: str, pattern: str | None = None) -> Database:
        """Create a database, as a copy of another if one is named."""
        # The copy clones files, as before version 15. It takes a quarter of the time, and ends with a
        # checkpoint. Without a checkpoint, a crash would set the copy's sequences back to those of the
        # pattern.
        copied = f" TEMPLATE {pattern or 'template1'}{' STRATEGY FILE_COPY' if self._version >= 15 else ''}"
        self.drop(name)
        self.execute(f"CREATE DATABASE {name}{copied}")
        return Database(f"postgres://ikd@127.0.0.1:{self.port}/{name}")

    def drop(self, name: str) -> None:
        """Remove a database with its thousand files, if it exists."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _signal(self, number: int) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *children(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _is_up(self) -> bool:
        with suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def _dsn(self, name: str) -> str:
        return f"postgres://ikd@127.0.0.1:{self.port}/{name}"

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd=self.folder, user=self._user, capture_output=True, timeout=60)
        if done.returncode:
            raise RuntimeError(done.stderr.decode())


class Replica(Cluster):
    """A streaming replica of another cluster. It answers reads."""

    def __init__(self, primary: Cluster) -> None:
        self._primary = primary
        super().__init__()

    def _fill(self, initdb: str) -> None:
        copies = program("pg_basebackup", "postgresql-client", *FOLDERS)
        source = ["-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "ikd"]
        how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-D", str(self.data)]
        self._run([copies, *source, *how])

    def has_all_of(self, primary: Cluster) -> bool:
        """Return whether everything that the primary has committed has arrived here."""
        position = primary.rows("SELECT pg_current_wal_flush_lsn()")[0][0]
        return bool(self.rows(f"SELECT pg_last_wal_replay_lsn() >= '{position}'")[0][0])

    def promote(self) -> None:
        assert self.rows("SELECT pg_promote()") == [(True,)]


def migrated(**settings: object) -> Cluster:
    """Start a cluster with a migrated database `pattern`. The first process of a run creates its folder."""
    # It stays in its own folder: that of the run belongs to root, and the cluster's user cannot enter it.
    return Cluster(created_once("cluster", _migrated) / "data").start(**settings)


def _migrated() -> Path:
    first = Cluster().start()
    migrate(first.database("pattern"))
    first.stop()
    return first.folder


def _other_user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
