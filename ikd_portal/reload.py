"""A reload by SIGHUP: gunicorn's master executes itself again, as the same process with the new code.

The master loads the portal before it forks, so that its workers share that memory. With gunicorn's own
reload, they would run the old code for ever. Here the new master inherits the listening sockets and the old
workers. It starts new workers, and the old ones answer until the new ones serve.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from typing import Any

from ikd_portal.process_names import MASTER_NAME, STARTS_NAME, name_process

VARIABLE = "IKD_RELOADED"
"""What a master leaves to its successor: its workers with their heartbeat files, and `systemd`."""

LOADS_WITHIN = 120.0
"""Seconds in which the new code has to load. No worker is watched meanwhile."""


def prepare_reload(server: Any) -> None:
    """Let SIGHUP and SIGUSR2 execute the command with which this master was started."""
    server.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
    server.handle_hup = partial(_begin, server)


def _begin(server: Any) -> None:
    """Replace this process. If the new code does not load, log why and keep everything as it is."""
    server.log.info("Reload: trying whether the new code loads")
    if trouble := _trouble_of_new_code(server):
        server.log.error("The new code does not load, so the old processes serve on: %s", trouble)
        return
    workers = [(pid, worker.tmp.fileno()) for pid, worker in server.WORKERS.items()]
    for number in (*(each for _, each in workers), *(each.fileno() for each in server.LISTENERS)):
        os.set_inheritable(number, True)
    environment = os.environ | {
        "GUNICORN_PID": str(os.getpid()),  # gunicorn's own names for a master that inherits sockets
        "GUNICORN_FD": ",".join(str(each.fileno()) for each in server.LISTENERS),
        VARIABLE: json.dumps({"workers": workers, "systemd": server.systemd}),
    }
    # Until the new master handles them, SIGHUP or SIGUSR1 would end it. They wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, server.SIGNALS)
    _send_again(server)
    try:
        os.chdir(server.START_CTX["cwd"])
        os.execve(sys.executable, server.START_CTX["args"], environment)  # noqa: S606, the same program
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, server.SIGNALS)
        server.log.error("The new master cannot start, so the old processes serve on: %s", error)


def _send_again(server: Any) -> None:
    """Send this process the signals that came meanwhile. Blocked ones stay pending for the new master.

    Further reloads are done by this one, which loads the code after they came.
    """
    with suppress(queue.Empty):
        while True:
            number = server.SIG_QUEUE.get_nowait()
            if number in server.SIGNALS and number != signal.SIGHUP:
                os.kill(os.getpid(), number)


def _trouble_of_new_code(server: Any) -> str:
    """Return the last line that another process writes because it cannot load the new code; or nothing."""
    command = [*server.START_CTX["args"], "--check-config"]
    try:
        tried = subprocess.run(
            command, cwd=server.START_CTX["cwd"], capture_output=True, text=True, timeout=LOADS_WITHIN
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tried.returncode == 0:
        return ""
    lines = tried.stderr.strip().splitlines()
    return lines[-1] if lines else f"code {tried.returncode}"


class _Heartbeat:
    """The file in which an old worker shows that it lives, as gunicorn's WorkerTmp."""

    def __init__(self, number: int) -> None:
        os.set_inheritable(number, False)
        self._number = number

    def fileno(self) -> int:
        return self._number

    def last_update(self) -> float:
        return os.fstat(self._number).st_mtime

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._number)


class _OldWorker:
    """A worker of the master before this one, as far as gunicorn's Arbiter needs it to watch and end it."""

    age = 0  # the oldest are ended first, and new workers begin with 1
    aborted = False
    is_for_pages = False

    def __init__(self, pid: int, heartbeat: int) -> None:
        self.pid, self.tmp = pid, _Heartbeat(heartbeat)


def take_over(server: Any) -> None:
    """Start new workers if this master came from a reload. gunicorn ends the old ones afterwards."""
    left = os.environ.pop(VARIABLE, None)
    if left is not None:
        before = json.loads(left)
        server.systemd = before["systemd"]
        for pid, heartbeat in before["workers"]:
            server.WORKERS[pid] = _OldWorker(pid, heartbeat)
        name_process(STARTS_NAME)  # their name from the first moment: old workers look for it
        for _ in range(server.num_workers):
            server.spawn_worker()
        server.SIG_QUEUE.put_nowait(signal.SIGCHLD)  # an old one may have ended while nobody listened
    name_process(MASTER_NAME)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, server.SIGNALS)  # each worker does so itself
