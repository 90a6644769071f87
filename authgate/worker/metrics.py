"""The metrics of the server's processes, for Prometheus (text format 0.0.4).

Each process writes its numbers to its own file. The process that receives the request adds them up. Counters
of ended processes are kept, so that no sum ever falls. No series names a process, so the number of series
does not grow.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse

from authgate import counters
from authgate.counters import Numbers, series
from authgate.folders import make_private

HELP = {
    "ikd_build_info": ("gauge", "1, with the versions of the portal and of Python, and the database."),
    "ikd_processes": ("gauge", "Processes that answer checks or pages."),
    "ikd_checks_total": ("counter", "Checks by contract, answer and class of reason."),
    "ikd_check_seconds": (
        "histogram",
        "Time from the last byte of a check's head to its answer: at once (protocol), after a wait for the "
        "database with others (waited), or by Django (view).",
    ),
    "ikd_page_seconds": ("histogram", "Time that pages took in their thread, by class of status."),
    "ikd_pages_waiting": ("gauge", "Requests for pages that wait for a thread."),
    "ikd_change_in_force_seconds": (
        "histogram",
        "Time that memory answered at most without knowing a change of access, for each reading of the "
        "change feed that found one.",
    ),
    "ikd_sign_ins_total": ("counter", "Sign-ins by way and result."),
    "ikd_events_total": ("counter", "Audit events by kind."),
    "ikd_provider_calls_total": ("counter", "Requests to providers by host and result."),
    "ikd_provider_call_seconds": ("histogram", "Time that requests to providers took."),
    "ikd_spans_total": (
        "counter",
        "Spans of traces: sent, failed (the collector did not take them), or dropped.",
    ),
    "ikd_memory_sessions": ("gauge", "Gate sessions that processes hold. Each holds its own."),
    "ikd_memory_applications": ("gauge", "Applications that a process holds, the most of all processes."),
    "ikd_memory_hits_total": ("counter", "Look-ups of a session that memory answered."),
    "ikd_memory_misses_total": ("counter", "Look-ups of a session that the database had to answer."),
    "ikd_checks_from_memory_total": ("counter", "Checks answered in the server's protocol."),
    "ikd_checks_waiting": ("gauge", "Checks that wait for the database."),
    "ikd_lookup_batches_total": ("counter", "Queries that loaded what waiting checks lacked."),
    "ikd_lookups_total": ("counter", "Sessions and API tokens that those queries looked for."),
    "ikd_checks_shed_total": ("counter", "Checks answered with 503 because too many waited, or too long."),
    "ikd_connections": ("gauge", "Open connections."),
    "ikd_connections_refused_total": ("counter", "Connections closed because too many were open."),
    "ikd_password_hashes_waiting": ("gauge", "Password hashes that run or wait."),
    "ikd_password_hashes_total": ("counter", "Password hashes that were computed."),
    "ikd_password_hash_seconds_total": ("counter", "Time that password hashes took, without their waiting."),
    "ikd_password_hashes_shed_total": ("counter", "Password hashes refused because too many waited."),
    "ikd_memory_heads": ("gauge", "Heads of checks of which processes know how they read."),
    "ikd_feed_read_seconds_ago": (
        "gauge",
        "Time since a process that answers checks read the change feed, the longest of all. Idle processes "
        "read it once a minute.",
    ),
    "ikd_feed_failing": ("gauge", "Processes whose last reading of the change feed failed or hangs."),
}

GREATEST = {"ikd_build_info", "ikd_memory_applications", "ikd_feed_read_seconds_ago"}
"""Gauges that show the greatest value of all processes rather than the sum."""

ENDED = "ended"
"""The name of the file with the sums of ended processes' counters."""

SILENT_AFTER = 150.0
"""Seconds after which a silent process of another container counts as ended. An idle process writes once a
minute."""

sources: list[Callable[[], Numbers]] = [counters.numbers]
"""The functions that return this process's numbers."""


def publish() -> None:
    """Write this process's numbers to its file. An error only makes the metrics incomplete."""
    numbers: Numbers = {}
    for source in sources:
        numbers |= source()
    try:
        make_private(_folder())
        _write(_folder() / _own_name(), numbers)
    except OSError:
        return


def answer_metrics(request: HttpRequest) -> HttpResponse:
    """Return all processes' numbers to operators. If IKD_METRICS_TOKEN is not set, return 404."""
    if not settings.IKD_METRICS_TOKEN:
        return HttpResponse("IKD_METRICS_TOKEN is not set\n", status=404, content_type="text/plain")
    if not is_operator(request):
        response = HttpResponse("a token is needed\n", status=401, content_type="text/plain")
        response["WWW-Authenticate"] = "Bearer"
        return response
    text = exposition(added_up(_collected()) | _build_info())
    return HttpResponse(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def is_operator(request: HttpRequest) -> bool:
    """Return whether a request has IKD_METRICS_TOKEN. If that is not set, always return False."""
    return has_token(request.META.get("HTTP_AUTHORIZATION", ""))


def has_token(authorization: str) -> bool:
    """Return whether the value of an Authorization header contains IKD_METRICS_TOKEN."""
    wanted = settings.IKD_METRICS_TOKEN
    given = authorization.removeprefix("Bearer ")
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


# ---- the text ---------------------------------------------------------------------------------------------


def exposition(numbers: Numbers) -> str:
    """Return numbers in Prometheus's text format. Names that are not in HELP are left out."""
    lines = []
    for name, (kind, about) in HELP.items():
        own = {name, *(f"{name}_{part}" for part in ("bucket", "sum", "count") if kind == "histogram")}
        samples = [f"{each} {_value(value)}" for each, value in numbers.items() if _name(each) in own]
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *samples]
    return "\n".join(lines) + "\n"


def _value(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def added_up(processes: Iterable[Numbers]) -> Numbers:
    """Return the sums over all processes, or the greatest value for the gauges in GREATEST."""
    found: Numbers = {}
    for numbers in processes:
        for each, value in numbers.items():
            if _name(each) in GREATEST:
                found[each] = max(found.get(each, value), value)
            else:
                found[each] = found.get(each, 0) + value
    return found


def _name(each: str) -> str:
    return each.partition("{")[0]


@lru_cache(maxsize=1)
def _is_counted() -> frozenset[str]:
    """Return the names of series that only grow."""
    names = {name for name, (kind, _) in HELP.items() if kind == "counter"}
    for name, (kind, _) in HELP.items():
        if kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return frozenset(names)


def _build_info() -> Numbers:
    labels = {
        "version": settings.IKD_VERSION,
        "python": platform.python_version(),
        "database": connection.vendor,
    }
    return {series("ikd_build_info", labels): 1}


# ---- the files --------------------------------------------------------------------------------------------


def _collected() -> list[Numbers]:
    """Return the numbers of live processes, and the kept counters of ended ones."""
    folder = _folder()
    try:
        make_private(folder)
        with _alone(folder):
            ended = _read(folder / ENDED)
            live: list[Path] = []
            gone: list[Path] = []
            for file in folder.glob("[0-9]*"):
                (live if _is_running(file) else gone).append(file)
            if gone:
                kept = [_grown(numbers) for numbers in (ended, *map(_read, gone))]
                ended = added_up(kept)
                _write(folder / ENDED, ended)
                for file in gone:
                    file.unlink(missing_ok=True)
            return [ended, *map(_read, live)]
    except OSError:
        return []


def _grown(numbers: Numbers) -> Numbers:
    """Return the counters among a process's numbers. Its gauges end with the process."""
    return {each: value for each, value in numbers.items() if _name(each) in _is_counted()}


def _read(file: Path) -> Numbers:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Path, numbers: Numbers) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(numbers))
    draft.replace(file)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock under which one process at a time adds up the numbers of ended processes."""
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _own_name() -> str:
    return f"{os.getpid()}-{_started(os.getpid())}-{_namespace()}"


def _is_running(file: Path) -> bool:
    """Return whether the process of a file runs. For another container's process, use the file's age."""
    try:
        pid, started, namespace = file.name.split("-")
        if namespace == _namespace():
            return _started(int(pid)) == started
        return time.time() - file.stat().st_mtime < SILENT_AFTER
    except (OSError, ValueError):
        return False


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the system's start; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _namespace() -> str:
    """Return the number of this container's PID namespace."""
    try:
        return "".join(filter(str.isdigit, Path("/proc/self/ns/pid").readlink().name))
    except OSError:
        return "0"


def _folder() -> Path:
    return Path(settings.IKD_VAR) / "metrics"
