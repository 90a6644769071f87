"""Numbers about the server's processes, for Prometheus (text format 0.0.4).

Each process writes its numbers to a file of its own. The one that is asked returns those of all that live.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from authgate.folders import make_private

HELP = {
    "ikd_memory_sessions": ("gauge", "Gate sessions that the worker holds."),
    "ikd_memory_applications": ("gauge", "Applications that the worker holds."),
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
    "ikd_memory_heads": ("gauge", "Heads of checks of which the worker knows how they read."),
    "ikd_feed_read_seconds_ago": ("gauge", "Time since the change feed was read last."),
}

Numbers = dict[str, float]
"""By the name in HELP, with labels where there are any: `name` or `name{label="value"}`."""

sources: list[Callable[[], Numbers]] = []
"""What this process has numbers about."""


def publish() -> None:
    """Write this process's numbers to its file. An error only costs the metrics."""
    numbers: Numbers = {}
    for source in sources:
        numbers |= source()
    folder = _folder()
    draft = folder / f".{os.getpid()}"
    try:
        make_private(folder)
        draft.write_text(json.dumps(numbers))
        draft.replace(folder / str(os.getpid()))
    except OSError:
        return


def answer_metrics(request: HttpRequest) -> HttpResponse:
    """Return all processes' numbers to operators. Without IKD_METRICS_TOKEN the page does not exist."""
    if not settings.IKD_METRICS_TOKEN:
        return HttpResponse("IKD_METRICS_TOKEN is not set\n", status=404, content_type="text/plain")
    if not is_operator(request):
        response = HttpResponse("a token is needed\n", status=401, content_type="text/plain")
        response["WWW-Authenticate"] = "Bearer"
        return response
    return HttpResponse(exposition(_live()), content_type="text/plain; version=0.0.4; charset=utf-8")


def is_operator(request: HttpRequest) -> bool:
    """Return whether a request has IKD_METRICS_TOKEN; nobody has it while it is not set."""
    wanted = settings.IKD_METRICS_TOKEN
    given = request.META.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def exposition(workers: dict[int, Numbers]) -> str:
    """Return the processes' numbers in Prometheus's text format."""
    lines = []
    for name, (kind, about) in HELP.items():
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        for pid, numbers in sorted(workers.items()):
            lines += [
                _sample(series, pid, value) for series, value in numbers.items() if _name(series) == name
            ]
    return "\n".join(lines) + "\n"


def _name(series: str) -> str:
    return series.partition("{")[0]


def _sample(series: str, pid: int, value: float) -> str:
    name, _, labels = series.partition("{")
    more = f",{labels.removesuffix('}')}" if labels else ""
    return f'{name}{{worker="{pid}"{more}}} {value:g}'


def _live() -> dict[int, Numbers]:
    found = {}
    for file in _folder().glob("[0-9]*"):
        pid = int(file.name)
        if not _is_running(pid):
            file.unlink(missing_ok=True)
            continue
        try:
            found[pid] = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
    return found


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _folder() -> Path:
    return Path(settings.IKD_VAR) / "metrics"
