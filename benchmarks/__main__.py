"""Runs all measurements: `python -m benchmarks`. It writes the figures to var/bench.json.

QUICK=1 takes about a minute. DATABASE=postgresql starts a separate PostgreSQL server and writes to
var/bench-postgresql.json.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import (
    databases,
    growth,
    machine,
    pages,
    report,
    revocation,
    servers,
    sign_in,
    single,
    sizes,
    storm,
)
from benchmarks.load import Unexpected
from benchmarks.plan import FULL, QUICK, Plan, Run

NEEDS = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux"}


def main() -> None:
    kind = os.environ.get("DATABASE") or "sqlite"
    if kind not in databases.KINDS:
        sys.exit(f"DATABASE must be {' or '.join(databases.KINDS)}, is {kind!r}")
    needed = NEEDS | databases.NEEDS[kind]
    lacking = {package for name, package in needed.items() if servers.program(name) is None}
    if lacking:
        sys.exit(f"The benchmarks need these of Debian's packages: {' '.join(sorted(lacking))}")
    quick = os.environ.get("QUICK", "") not in ("", "0")
    name = "bench.json" if kind == "sqlite" else f"bench-{kind}.json"
    output = Path(os.environ.get("IKD_VAR") or servers.ROOT / "var") / name
    with tempfile.TemporaryDirectory(prefix="ikd-bench-") as folder:
        try:
            found = measure(QUICK if quick else FULL, Path(folder), kind)
        except Unexpected as problem:
            sys.exit(f"\n{problem}")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2) + "\n")
    holds = report.show_bars(found)
    print(f"{time.monotonic() - report.BEGAN:.0f} s. {output}")
    sys.exit(0 if holds or quick else 1)


def measure(plan: Plan, folder: Path, kind: str) -> dict[str, Any]:
    """Run every measurement on that kind of database."""
    folder.chmod(0o755)
    run = Run(plan, folder, report.say)
    found: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "database": kind,
        "machine": {"cores": os.cpu_count(), "load_average_before": report.load_average()},
    }
    print(
        f"Load average before: {report.load_average()}; server on core {machine.SERVER_CORE}, "
        f"load on core {machine.LOAD_CORE}, {plan.rounds} rounds of {plan.seconds} s, "
        f"on {databases.NOTES[kind]}"
    )
    with databases.started(kind, folder) as make:
        var, tokens, empty = _databases(run, make)
        _measure(run, found, var, tokens)
        report.heading("everybody at once")
        found["storm"] = storm.run(folder, make, empty, storm.SMALL if plan is QUICK else storm.WHOLE)
    found["machine"]["load_average_after"] = report.load_average()
    return found


def _measure(run: Run, found: dict[str, Any], var: dict[str, Path], tokens: dict[str, Any]) -> None:
    """Measure, and print each table as soon as it is complete."""
    found["checks"] = single.measure_checks(run, var["site"], tokens, max(run.plan.held))
    report.show_checks(found["checks"])
    found["pages"] = pages.measure_pages(run, var["site"], tokens)
    report.show_pages(found["pages"])
    found["growth"] = growth.measure_growth(run, var["few"], var["applications"], var["sessions"])
    report.show_growth(found["growth"])
    found["memory_mb"] = sizes.measure_memory(run, var["site"])
    report.show_memory(found["memory_mb"])
    found["sign_in_ms"] = sign_in.measure_sign_in(run, var["few"])
    report.show_sign_in(found["sign_in_ms"])
    found["revocation_ms"] = revocation.measure_revocation(run, var["few"], growth.FEW_SESSIONS)
    report.show_revocation(found["revocation_ms"])


def _databases(run: Run, make: databases.Make) -> tuple[dict[str, Path], dict[str, Any], Path]:
    """Create the portals' databases. Return their folders, the first one's tokens, and an empty folder."""
    plan, few = run.plan, growth.FEW_SESSIONS
    wanted: dict[str, dict[str, Any]] = {
        "site": {
            "sessions": max(plan.held),
            "users": min(max(plan.held), 10_000),
            "origins": pages.origins(),
        },
        "few": {"sessions": few, "trials": plan.trials, "passwords": sign_in.people(plan.trials) + 1},
        "applications": {"sessions": few, "applications": plan.applications},
        "sessions": {"sessions": plan.sessions, "users": 10_000},
    }
    empty = make(run.folder / "var-empty", None)
    databases.fill(empty, "")
    folders, tokens = {}, {}
    for name, content in wanted.items():
        run.say(f"making a database: {name}")
        folders[name] = make(run.folder / f"var-{name}", empty)
        tokens[name] = json.loads(databases.fill(folders[name], json.dumps(content)))
    return folders, tokens["site"], empty


if __name__ == "__main__":
    main()
