"""A PgBouncer for the tests, in transaction mode with a small pool."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.feed.cluster import Cluster
from tests.front.serving import Database, eventually, free_port, program

SETTINGS = """
[databases]
portal = host=127.0.0.1 port={cluster} dbname={name} user=ikd
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
logfile = {folder}/log
"""


class Bouncer:
    """PgBouncer on a free port. It refuses to run as root. If the tests do, it runs as `nobody`."""

    def __init__(self, cluster: Cluster, name: str, *, size: int) -> None:
        self._program = program("pgbouncer", "pgbouncer")
        self._cluster, self._size = cluster, size
        self._folder = Path(tempfile.mkdtemp(prefix="ikd-tests-pgbouncer-", dir="/tmp"))
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.port = free_port()
        self._write(name)
        shutil.chown(self._folder, self._user)
        self.start()

    def start(self) -> None:
        log = self._folder / "log"
        log.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [self._program, "-q", str(self._folder / "settings.ini")],
            user=self._user if os.geteuid() == 0 else None,
            stderr=subprocess.DEVNULL,
        )
        assert eventually(lambda: "process up" in log.read_text())

    @property
    def database(self) -> Database:
        return Database(f"postgres://ikd@127.0.0.1:{self.port}/portal")

    def lead_to(self, name: str) -> None:
        """Lead to another database of the cluster, as an administrator does: new settings, then a reload."""
        self._write(name)
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, name: str) -> None:
        text = SETTINGS.format(
            cluster=self._cluster.port, name=name, port=self.port, size=self._size, folder=self._folder
        )
        (self._folder / "settings.ini").write_text(text)
