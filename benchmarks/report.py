"""Prints the tables and limits on the terminal."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from benchmarks.pages import NAMES as PROXIES
from benchmarks.peers import NAMES as PEERS
from benchmarks.single import COLD_CONNECTIONS, EMPTY, cold_name

BEGAN = time.monotonic()

TIMES_THE_FIRST_PEER = {
    "signed_in": 0.65,
    "signed_in_varying_headers": 1.0,
    "signed_in_own_Authorization": 1.1,
    "anonymous": 1.5,
    "anonymous_redirect": 2.5,
    "refused": 2.0,
}
"""The maximum cost of each check, as a multiple of the first peer's signed-in check in the same run."""


def say(line: str) -> None:
    """Show the progress in one line, which the next one overwrites. Only on a terminal."""
    if sys.stdout.isatty():
        print(f"\r\033[K{time.monotonic() - BEGAN:4.0f} s  {line}"[:110], end="", flush=True)


def heading(line: str) -> None:
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{clear}\n{line}", flush=True)


def load_average() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def show_checks(checks: dict[str, dict[str, float]]) -> None:
    heading(
        f"{'a check':30} {'CPU µs':>9} {'each second':>12} {'p50 ms':>8} {'p99 ms':>8} "
        f"{'/ empty':>8} {'/ nginx':>8}"
    )
    for name, row in checks.items():
        print(
            f"{name.replace('_', ' '):30} {row['cpu_us']:9.1f} {row['per_second']:12,.0f} "
            f"{row['p50_ms']:8.2f} "
            f"{row['p99_ms']:8.2f} {row['ratio_to_empty']:8.2f} {row['ratio_to_nginx']:8.2f}"
        )
    for peer in PEERS:
        words = (
            f"a signed-in check costs {checks[peer]['signed_in_to_it']:.2f} times its"
            if peer in checks
            else "not on PATH"
        )
        print(f"  {peer}: {words}")


def show_pages(pages: dict[str, dict[str, float]]) -> None:
    heading(
        f"{'a small static page':38} {'CPU µs':>9} {'added':>8} {'p50 ms':>8} {'added':>8} {'p99 ms':>8}   "
        "CPU of all that work on it; p50 of one connection"
    )
    for name, row in pages.items():
        print(
            f"{name:38} {row['cpu_us']:9.1f} {row.get('added_us', 0):8.1f} "
            f"{row['p50_ms_alone']:8.3f} {row.get('added_ms', 0):8.3f} {row['p99_ms']:8.2f}"
        )
    for name, program in PROXIES.items():
        if f"{name}, the portal" not in pages:
            print(f"  {name}: {program} is not on PATH, left out")


def show_growth(growth: dict[str, Any]) -> None:
    heading("growth of a check's CPU µs")
    for name, row in growth.items():
        (small, low), (large, high), *_ = row.items()
        more = f", compiled in {row['compile_seconds']} s" if "compile_seconds" in row else ""
        what = name.replace("_", " ")
        print(
            f"{what:16} {int(small):>7,} → {int(large):>9,}: "
            f"{low:8.1f} → {high:8.1f}   ratio {row['ratio']}{more}"
        )


def show_memory(memory: dict[str, dict[str, float]]) -> None:
    heading(f"{'sessions held by a worker':30} {'RSS MB':>9} {'own MB':>9}")
    for count, row in memory.items():
        print(f"{int(count):>25,}      {row['rss']:9.1f} {row.get('uss', float('nan')):9.1f}")


def show_sign_in(sign_in: dict[str, dict[str, float]]) -> None:
    heading("signing in, p50 ms by how many do so at once")
    for kind, row in sign_in.items():
        words = ", ".join(f"{at_once}: {value:.1f}" for at_once, value in row.items())
        print(f"{kind:30} {words}")


def show_revocation(revocation: dict[str, dict[str, float]]) -> None:
    heading(f"{'revocation, ms to the last 200':30} {'p50':>9} {'p99':>9} {'worst':>9} {'came back':>10}")
    for kind, row in revocation.items():
        print(f"{kind:30} {row['p50']:9.1f} {row['p99']:9.1f} {row['worst']:9.1f} {row['came_back']:10.0f}")


def bars(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return each limit with its name and measured value."""
    checks, pages, growth = found["checks"], found["pages"], found["growth"]
    signed_in = checks["signed_in"]
    wanted = [
        ("a signed-in check, times the empty answer", signed_in["ratio_to_empty"], 2.0),
        ("a signed-in check, times nginx's constant one", signed_in["ratio_to_nginx"], 3.5),
        ("a signed-in check, p99 ms", signed_in["p99_ms"], 3.0),
    ]
    for connections in COLD_CONNECTIONS:
        name = cold_name(connections)
        wanted.append((f"{name.replace('_', ' ')}, times a warm one", checks[name]["times_signed_in"], 10.0))
    if PEERS[0] in checks:
        for name, most in TIMES_THE_FIRST_PEER.items():
            times = checks[name]["cpu_us"] / checks[PEERS[0]]["cpu_us"]
            wanted.append((f"{name.replace('_', ' ')}, times {PEERS[0]}", times, most))
    second = pages["nginx, a second nginx"]["added_us"]
    for name in ("nginx, the portal", "nginx, the portal over a Unix socket"):
        wanted.append((f"{name}, times a second nginx", pages[name]["added_us"] / max(second, 0.01), 2.2))
    wanted += [(f"growth with {name.replace('_', ' ')}", row["ratio"], 1.1) for name, row in growth.items()]
    wanted.append(("seconds to compile all applications", growth["applications"]["compile_seconds"], 1.0))
    held = found["memory_mb"].get("10000")
    if held:
        wanted.append(("MB of a worker with 10,000 sessions", held["rss"], 120.0))
    slowest = found["revocation_ms"].values()
    wanted.append(("revocation, p50 ms of the slowest kind", max(row["p50"] for row in slowest), 150.0))
    wanted.append(("revocation, worst ms", max(row["worst"] for row in slowest), 1000.0))
    wanted.append(("revoked sessions that came back", sum(row["came_back"] for row in slowest), 0.0))
    return wanted + _bars_of_the_storm(found["storm"])


def _bars_of_the_storm(storm: dict[str, Any]) -> list[tuple[str, float, float]]:
    quiet, *others = storm["table"]
    most = 2 * quiet["p99_ms"] + 5
    wanted = [
        (f"{row['name']}, p99 ms", row["p99_ms"], most)
        for row in others
        if row["name"].startswith("flood") or "sign in" in row["name"]
    ]
    wanted.append(
        (
            "a session ended during a flood, ms",
            next(row["revoked_ms"] for row in others if "revoked_ms" in row),
            1000.0,
        )
    )
    share = storm["overload"]["share_at_the_highest_rate"]
    return [
        *wanted,
        ("overload, the most let in over those let in at the highest rate", 1 / max(share, 0.01), 1.25),
    ]


def show_bars(found: dict[str, Any]) -> bool:
    """Show each limit and whether it is kept. Return whether all are."""
    heading("bars")
    holds = True
    for name, value, most in bars(found):
        holds &= value <= most
        print(f"  {'ok  ' if value <= most else 'MISS'} {name}: {value:.2f}, at most {most:g}")
    print(f"\n{EMPTY}: the same worker with a protocol that writes constant octets.")
    print(f"Load average now: {load_average()}")
    return holds
