"""Real servers as child processes: start them, wait for them, and end them by their pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.forks import started

PATIENCE = 120


def found(name: str) -> str | None:
    """Return a program's path, or None if it is not installed."""
    beside_python = Path(sys.executable).with_name(name)
    if beside_python.exists():
        return str(beside_python)
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def binary(name: str, package: str) -> str:
    """Return a program's path. Skip the test if it is not installed; fail it on CI."""
    path = found(name)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing: install {package}")
    return path or pytest.skip(f"{name} is missing: install {package}")


def free_port() -> int:
    """Return a port that is free on every loopback address."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


class Server:
    """A child process that listens. Its output is kept in case it fails."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        is_killed: bool = False,
    ) -> None:
        """Start it. Use `is_killed` if it waits for connections at its end and has no child processes."""
        self.log, self._is_killed = log, is_killed
        with log.open("wb") as output:
            self.process = started(command, output=output, cwd=cwd, env=env)

    def wait_for(self, address: tuple[str, int] | str) -> None:
        """Wait until it listens on an address or a Unix socket. Raises with its output if it ends first."""
        deadline = time.monotonic() + PATIENCE
        family, place = _socket_address(address)
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket(family) as probe:
                if probe.connect_ex(place) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(
            f"{self.process.args!r} does not listen on {address}:\n{self.log.read_text()[-4000:]}"
        )

    def stop(self) -> None:
        if self._is_killed:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _socket_address(address: tuple[str, int] | str) -> tuple[socket.AddressFamily, tuple[str, int] | str]:
    """Return a socket's family and address. IPv6 addresses have brackets."""
    if isinstance(address, str):
        return socket.AF_UNIX, address
    host, port = address
    if host.startswith("["):
        return socket.AF_INET6, (host.strip("[]"), port)
    return socket.AF_INET, address
