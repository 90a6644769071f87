"""Measures a worker's memory with sessions in it."""

from __future__ import annotations

from pathlib import Path

from benchmarks import machine, requests, servers
from benchmarks.load import measure, prepare
from benchmarks.plan import Run


def measure_memory(run: Run, var: Path) -> dict[str, dict[str, float]]:
    """Return RSS and USS of a worker by number of sessions in memory, each checked once."""
    found = {}
    for count in run.plan.held:
        run.say(f"memory of a worker with {count} sessions")
        load = prepare(run.folder, f"held-{count}", requests.checks(requests.tokens(count)))
        with servers.filled("filled", var, count) as portal:
            measure(portal, load, max(1, count // 20_000))
            worker = machine.checkers(portal.pid)[-1]
            found[str(count)] = machine.memory_mb(worker)
    return found
