"""A temporary PostgreSQL cluster, started without Debian's service and ended with the tests."""

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

from tests.front.serving import Database, children, eventually, free_port, program

FOLDERS = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


class Cluster:
    """PostgreSQL on a free port of 127.0.0.1. It refuses to run as root, so it runs as somebody else then."""

    def __init__(self) -> None:
        initdb = program("initdb", "postgresql", *FOLDERS)
        self._postgres = str(Path(initdb).with_name("postgres"))
        self._user = _somebody() if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="ikd-tests-postgresql-", dir="/tmp"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        options = ["-D", str(self.folder / "data"), "-U", "ikd", "--auth=trust", "--no-sync", "-E", "UTF8"]
        self._run([initdb, *options, "--locale=C.UTF-8"])

    def start(self) -> Cluster:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 60,
            "shared_buffers": "16MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._postgres, "-D", str(self.folder / "data"), *options],
                cwd=self.folder, user=self._user, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if not eventually(self._is_up):
            raise RuntimeError((self.folder / "log").read_text()[-2000:])
        return self

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one."""
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.send_signal(number)
            self.process.wait(60)

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def suspend(self) -> None:
        """Stop every process of it where it stands: connections stay open, and nobody answers."""
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
        """Make a database, as a copy of another where that is named."""
        template = f" TEMPLATE {pattern}" if pattern else ""
        # Without the checkpoint a crash would set the copy's sequences back to where the pattern's stood.
        self.execute(
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}{template}", "CHECKPOINT"
        )
        return Database(f"postgres://ikd@127.0.0.1:{self.port}/{name}")

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


def _somebody() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
