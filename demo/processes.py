"""Starts, watches and ends the programs of the demo."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 5.0
"""Seconds that a program has to end by itself."""
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def exit_report(self) -> str:
        """Return how the program ended, with the last lines of its log."""
        code = self.process.returncode
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        lines = self.log.read_text(errors="replace").splitlines()[-12:]
        quoted = "".join(f"\n  | {line}" for line in lines)
        return f"The {self.name} ended by itself ({how}). The last lines of {self.log}:{quoted}"


def start(name: str, command: list[str], *, log: Path, env: dict[str, str], folder: Path) -> Program:
    """Start a program in its own session, so that Ctrl-C in the terminal reaches only the demo."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=env,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    return Program(name, process, log)


def end(programs: list[Program]) -> None:
    """End programs and their child processes: first with SIGTERM, then with SIGKILL."""
    for program in programs:
        if program.process.poll() is None:
            program.process.terminate()
    deadline = time.monotonic() + PATIENCE
    for program in programs:
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(max(0.0, deadline - time.monotonic()))
        # Its workers are in its process group and may outlive it.
        try:
            os.killpg(program.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
        program.process.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no program listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """Make Linux end the program if the demo itself is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
