"""The amount to measure: everything in under ten minutes, or QUICK in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.load import Figures, Load, measure
from benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    seconds: int
    applications: int
    sessions: int
    held: tuple[int, ...]
    trials: int


FULL = Plan(
    rounds=3, seconds=2, applications=10_000, sessions=1_000_000, held=(1, 10_000, 100_000), trials=200
)
QUICK = Plan(rounds=1, seconds=1, applications=1_000, sessions=50_000, held=(1, 1_000, 10_000), trials=20)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What every measurement needs: the amount, a folder for files, and a function to report progress."""

    plan: Plan
    folder: Path
    say: Say


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure: a server, its load, and the servers behind it."""

    name: str
    server: Server
    load: Load
    others: tuple[Server, ...] = ()


def measure_in_turn(run: Run, cases: Sequence[Case]) -> dict[str, list[Figures]]:
    """Measure every case once in each round, so that disturbances of the machine affect all alike."""
    found: dict[str, list[Figures]] = {case.name: [] for case in cases}
    for number in range(run.plan.rounds):
        for case in cases:
            run.say(f"round {number + 1} of {run.plan.rounds}: {case.name}")
            found[case.name].append(measure(case.server, case.load, run.plan.seconds, case.others))
    return found


def middle(figures: Sequence[Figures]) -> Figures:
    return Figures(*(median(getattr(each, name) for each in figures) for name in Figures.__slots__))


def ratio(over: Sequence[Figures], under: Sequence[Figures]) -> float:
    """Return the median of the CPU time ratios of the rounds."""
    return median(one.cpu_us / max(other.cpu_us, 1e-9) for one, other in zip(over, under, strict=True))
