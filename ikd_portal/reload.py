"""A reload by SIGHUP: gunicorn's master executes itself again, as the same process with the new code.

The master loads the portal before it forks, so that its workers share that memory. With gunicorn's own
reload, new workers would always run the old code. Here the new master inherits the listening sockets and the
old workers. It starts new workers, and the old ones answer until the new ones serve.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ikd_portal.process_names import MASTER_NAME, STARTS_NAME, name_process

VARIABLE = "IKD_RELOADED"
"""JSON for the next master: the workers with their heartbeat files, and `systemd`."""

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals that end the portal, even during a reload. The new code takes seconds to load, twice."""

LOADS_WITHIN = 120.0
"""Seconds in which the new code has to load. The master does not watch workers during that time."""

POLL_EVERY = 0.1
"""Seconds between two looks for such a signal while the new code loads."""


class _Ended(BaseException):
    """A signal ends the portal while a reload loads the new code."""


def prepare_reload(server: Any) -> None:
    """Let SIGHUP and SIGUSR2 execute the command that started this master."""
    server.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
    server.handle_hup = partial(_begin, server)
    server.wait_for_signals = partial(_next_signal, server)


def _next_signal(server: Any, timeout: float = 1.0) -> list[int]:
    """Return the next signal in a list, or an empty list. Others stay queued for a reload to find.

    gunicorn takes all signals at once. Those after SIGHUP would be lost when a reload replaces the process.
    """
    try:
        number = server.SIG_QUEUE.get(timeout=timeout)
    except queue.Empty:
        return []
    return [] if number == server.WAKEUP_REQUEST else [number]


def _begin(server: Any) -> None:
    """Replace this process. If the new code does not load, log why and change nothing."""
    server.log.info("Reload: trying whether the new code loads")
    trouble = _load_error(server)
    if _must_end(server):
        return
    if trouble:
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
    # SIGHUP or SIGUSR1 would end the new master before it handles them, so they are blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, server.SIGNALS)
    _resend_signals(server)
    try:
        os.chdir(server.START_CTX["cwd"])
        os.execve(sys.executable, server.START_CTX["args"], environment)  # noqa: S606, the same program
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, server.SIGNALS)
        server.log.error("The new master cannot start, so the old processes serve on: %s", error)


def _resend_signals(server: Any) -> None:
    """Send this process the queued signals again. Blocked signals stay pending for the new master.

    Further SIGHUPs are dropped, because this reload loads the code after they came.
    """
    with suppress(queue.Empty):
        while True:
            number = server.SIG_QUEUE.get_nowait()
            if number in server.SIGNALS and number != signal.SIGHUP:
                os.kill(os.getpid(), number)


def _load_error(server: Any) -> str:
    """Return the last line of a test process's errors if it cannot load the new code, otherwise ""."""
    command = [*server.START_CTX["args"], "--check-config"]
    deadline = time.monotonic() + LOADS_WITHIN
    try:
        tried = subprocess.Popen(
            command, cwd=server.START_CTX["cwd"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        return str(error)
    with tried:
        while True:
            try:
                _, errors = tried.communicate(timeout=POLL_EVERY)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline or _must_end(server):
                    tried.kill()
                    return f"it does not within {LOADS_WITHIN:.0f} seconds"
    if tried.returncode == 0:
        return ""
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"code {tried.returncode}"


def _must_end(server: Any) -> bool:
    """Return whether a signal that ends the portal is queued. All signals stay in the queue."""
    came = []
    with suppress(queue.Empty):
        while True:
            came.append(server.SIG_QUEUE.get_nowait())
    for number in came:
        server.SIG_QUEUE.put_nowait(number)
    return not set(ENDING).isdisjoint(came)


def load_unless_ended(load: Callable[[], None]) -> None:
    """Load the portal. After a reload, a signal that ends the portal stops the loading.

    The signal is sent again, and `take_over` finds it.
    """
    if VARIABLE not in os.environ:
        load()
        return
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        came.append(number)
        raise _Ended

    before = {each: signal.signal(each, interrupt) for each in ENDING}
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        load()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    except _Ended:
        pass
    for each, handler in before.items():
        signal.signal(each, handler)
    for number in came:
        os.kill(os.getpid(), number)


class _Heartbeat:
    """The file in which an old worker shows that it lives, with the interface of gunicorn's WorkerTmp."""

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
    """A worker of the previous master, with what gunicorn's Arbiter needs to watch and end it."""

    age = 0  # gunicorn ends the oldest first, and new workers begin with 1
    aborted = False
    is_for_pages = False

    def __init__(self, pid: int, heartbeat: int) -> None:
        self.pid, self.tmp = pid, _Heartbeat(heartbeat)


def take_over(server: Any) -> None:
    """Start new workers after a reload, unless a signal ends the portal. gunicorn then ends the old ones."""
    left = os.environ.pop(VARIABLE, None)
    if left is not None:
        before = json.loads(left)
        server.systemd = before["systemd"]
        for pid, heartbeat in before["workers"]:
            server.WORKERS[pid] = _OldWorker(pid, heartbeat)
        if not signal.sigpending() & set(ENDING):
            name_process(STARTS_NAME)  # new workers have this name at once, because old ones look for it
            for _ in range(server.num_workers):
                server.spawn_worker()
        server.SIG_QUEUE.put_nowait(signal.SIGCHLD)  # an old worker may have ended while no master listened
    name_process(MASTER_NAME)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, server.SIGNALS)  # each worker does so itself
