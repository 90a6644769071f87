"""The demo as `make demo` runs it, in a separate folder."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.pattern import ROOT, copy_pattern

START_LIMIT = 180.0
END_LIMIT = 60.0


@dataclass
class Demo:
    """One run of the demo. The folder `var` may contain files of an earlier run.

    If `migrates`, the first run migrates a new database. Otherwise it gets a copy of the tests' migrated one.
    """

    var: Path
    proxy: str = "traefik"
    migrates: bool = False
    port: int = field(default_factory=lambda: free_port())
    notes: dict[str, Any] = field(default_factory=dict)

    def start(self) -> Demo:
        """Start the demo, and wait until it reports that everything answers."""
        if not self.migrates and not self.var.exists():
            self.var.mkdir()
            copy_pattern(self.var / "ikd.sqlite3")
        self.output = self.var.with_suffix(f".{self.port}.txt")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                run_command(), stdout=output, stderr=subprocess.STDOUT, env=self.environment(), cwd="/"
            )
        deadline = time.monotonic() + START_LIMIT
        while "Ctrl-C to stop" not in self.said():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        self.notes = json.loads((self.var / "demo.json").read_text())
        return self

    def environment(self) -> dict[str, str]:
        return environment(PORT=str(self.port), PROXY=self.proxy, IKD_VAR=str(self.var))

    def said(self) -> str:
        return self.output.read_text()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send the demo a signal, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(END_LIMIT)

    def get(self, url: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Request a URL from the demo's proxy, without resolving its host name."""
        host, _, path = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", f"/{path}", headers={"Host": host} | headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def url(self, application: str, path: str = "/") -> str:
        return f"{self.notes['applications'][application]['url']}{path}"

    def processes(self) -> dict[int, str]:
        """Return the running processes of this demo: process ids with their command lines."""
        mark = f"IKD_VAR={self.var}\0".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes() + b"\0":
                    command = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
        return found


def run_command() -> list[str]:
    return [sys.executable, str(ROOT / "demo" / "run.py")]


def environment(**more: str) -> dict[str, str]:
    """Return an environment without the tests' own portal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IKD_", "DJANGO_"))}
    return kept | more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo's first run, behind Traefik."""
    running = Demo(tmp_path_factory.mktemp("demo") / "var", migrates=True).start()
    yield running
    running.stop()
