"""Start Python programs of this checkout without importing everything: as forks of tests/preloaded.py."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

ROOT = Path(__file__).resolve().parent.parent

ITS_OWN = ("IKD_", "DJANGO_", "DATABASE_URL", "REDIS_URL", "PORT", "OTEL_", "PYTEST_", "PYTHONPATH", "TESTS_")
"""Prefixes of variables that no preloaded module reads during its import."""


class Fork:
    """A program that was started as a fork, with the interface of subprocess.Popen."""

    def __init__(self, args: Sequence[str], answers: socket.socket) -> None:
        self.args, self._answers = args, answers
        self.returncode: int | None = None
        self._told = b""
        answers.settimeout(None)
        self.pid = self._number()

    def poll(self) -> int | None:
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            ends = select.poll()
            ends.register(self._answers, select.POLLIN)
            if ends.poll(None if seconds is None else seconds * 1000):
                self.returncode = self._number()
                self._answers.close()
        return self.returncode

    def _number(self) -> int:
        while b"\n" not in self._told:
            received = self._answers.recv(64)
            if not received:
                raise RuntimeError(f"the process that ran {self.args!r} has ended")
            self._told += received
        line, _, self._told = self._told.partition(b"\n")
        return int(line)


Process = subprocess.Popen[bytes] | Fork


SQLITE, POSTGRESQL = "sqlite:////nonexistent", "postgres://nobody@127.0.0.1:1/none"

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(ITS_OWN)}


class _Preloaded:
    """The process that forks for this one. It ends when this process ends."""

    def __init__(self, database: str) -> None:
        """`database` is any URL with the programs' backend: Django reads it when it imports models."""
        self._requests, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.preloaded", str(its_end.fileno())],
                cwd=ROOT,
                env=ENVIRONMENT | {"DATABASE_URL": database},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[its_end.fileno()],
            )
        atexit.register(self._end)

    def fork(self, command: Sequence[str], env: Mapping[str, str], streams: Sequence[int]) -> Fork:
        answers, its_end = socket.socketpair()
        message = json.dumps({"command": command, "folder": str(ROOT), "environment": dict(env)})
        with its_end:
            socket.send_fds(self._requests, [message.encode()], [*streams, its_end.fileno()])
        return Fork(command, answers)

    def _end(self) -> None:
        self._requests.close()
        self._process.wait()


_preloaded = cache(_Preloaded)


def started(
    command: Sequence[str],
    *,
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    as_fork: bool = True,
) -> Process:
    """Start a program that writes to `output`, and its errors too if `errors` is None. It has no input.

    A Python program of this checkout is a fork if only settings differ from this process's environment. Any
    other program is executed.
    """
    is_python = (
        as_fork and command[0] == sys.executable and (command[1] == "-m" or command[1].endswith(".py"))
    )
    if is_python and cwd == ROOT and env is not None and _can_be_a_fork(env):
        with Path(os.devnull).open("rb") as nothing:
            streams = [nothing.fileno(), output.fileno(), (errors or output).fileno()]
            on_postgresql = env.get("DATABASE_URL", "").startswith("postgres")
            return _preloaded(POSTGRESQL if on_postgresql else SQLITE).fork(list(command), env, streams)
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=errors or output
    )


def printed_by(arguments: list[str], environment: Mapping[str, str]) -> str:
    """Return the output of a Python program. Raises RuntimeError if it fails."""
    command = [sys.executable, *arguments]
    with TemporaryFile() as output, TemporaryFile() as errors:
        code = started(command, output=output, errors=errors, cwd=ROOT, env=environment).wait()
        output.seek(0)
        errors.seek(0)
        if code:
            raise RuntimeError(f"{command} failed:\n{errors.read().decode()[-4000:]}")
        return output.read().decode()


def _can_be_a_fork(environment: Mapping[str, str]) -> bool:
    """Return whether its environment differs only by settings, and no code runs when Python starts."""
    kept = {name: value for name, value in environment.items() if not name.startswith(ITS_OWN)}
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    return kept == ENVIRONMENT and not any(Path(each, "sitecustomize.py").exists() for each in folders)
