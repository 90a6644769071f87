"""Measures whether a check costs more with more applications or more sessions in the database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import requests, servers
from benchmarks.load import prepare
from benchmarks.plan import Case, Run, measure_in_turn, middle, ratio

COMPILE = """
import django, time
django.setup()
from authgate.worker import loader
loader.load_compiled({1})
began = time.perf_counter(), time.process_time()
count = len(loader.load_everything_compiled())
print([count, time.perf_counter() - began[0], time.process_time() - began[1]])
"""

FEW_SESSIONS = 1_000


def measure_growth(run: Run, few: Path, applications: Path, sessions: Path) -> dict[str, Any]:
    """Compare portals on three databases: few of both, many applications, many sessions."""
    warm = prepare(run.folder, "warm", requests.checks(requests.tokens(FEW_SESSIONS)))
    many = run.plan.sessions
    spread, few_spread = (
        prepare(run.folder, name, requests.checks(requests.tokens(20_000, 9_973, of)))
        for name, of in (("spread", many), ("few spread", FEW_SESSIONS))
    )
    with ExitStack() as stack:

        def held(name: str, var: Path) -> servers.Server:
            return stack.enter_context(servers.filled(name, var, FEW_SESSIONS))

        def cold(name: str, var: Path) -> servers.Server:
            return stack.enter_context(servers.portal(name, var, IKD_MEMORY_SESSIONS="1"))

        cases = [
            Case("few", held("few", few), warm),
            Case("many applications", held("many applications", applications), warm),
            Case("many sessions", held("many sessions", sessions), warm),
            Case("few, cold", cold("few cold", few), few_spread),
            Case("many sessions, cold", cold("many cold", sessions), spread),
        ]
        found = measure_in_turn(run, cases)
    cost = {name: round(middle(figures).cpu_us, 2) for name, figures in found.items()}
    run.say(f"compiling {run.plan.applications} applications")
    return {
        "applications": {
            "1": cost["few"],
            str(run.plan.applications): cost["many applications"],
            "ratio": round(ratio(found["many applications"], found["few"]), 3),
            "compile_seconds": compile_seconds(applications),
        },
        "sessions": {
            str(FEW_SESSIONS): cost["few"],
            str(many): cost["many sessions"],
            "ratio": round(ratio(found["many sessions"], found["few"]), 3),
        },
        "sessions_cold": {
            str(FEW_SESSIONS): cost["few, cold"],
            str(many): cost["many sessions, cold"],
            "ratio": round(ratio(found["many sessions, cold"], found["few, cold"]), 3),
        },
    }


def compile_seconds(var: Path) -> float:
    """Return the seconds to load and compile all applications, as a worker does that must reload all."""
    output = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env=os.environ | servers.environment(var),
        cwd=servers.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return round(float(json.loads(output)[1]), 2)
