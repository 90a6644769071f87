"""What workers tell of themselves, for Prometheus (text format 0.0.4).

Each worker leaves its numbers in a file of its own; whichever is asked tells those of all that live.
"""

from __future__ import annotations

import hmac
import json
import os
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
    "ikd_checks_shed_total": ("counter", "Checks answered with 503: too many waited, or for too long."),
    "ikd_memory_heads": ("gauge", "Heads of checks of which the worker knows how they read."),
    "ikd_feed_read_seconds_ago": ("gauge", "Time since the change feed was read last."),
}


def publish(numbers: dict[str, float]) -> None:
    """Leave this worker's numbers for whoever is asked; without a file, metrics alone suffer."""
    folder = _folder()
    draft = folder / f".{os.getpid()}"
    try:
        make_private(folder)
        draft.write_text(json.dumps(numbers))
        draft.replace(folder / str(os.getpid()))
    except OSError:
        return


def answer_metrics(request: HttpRequest) -> HttpResponse:
    """Return all workers' numbers to operators. Without IKD_METRICS_TOKEN the page does not exist."""
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


def exposition(workers: dict[int, dict[str, float]]) -> str:
    """Give the workers' numbers as Prometheus reads them."""
    lines = []
    for name, (kind, about) in HELP.items():
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        for pid, numbers in sorted(workers.items()):
            if name in numbers:
                lines.append(f'{name}{{worker="{pid}"}} {numbers[name]:g}')
    return "\n".join(lines) + "\n"


def _live() -> dict[int, dict[str, float]]:
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
