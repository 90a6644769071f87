"""Everybody at once: `python -m benchmarks.storm`. Two workers on all cores, and the load beside them.

Each figure stands beside its quiet value, measured in the same run. DATABASE=postgresql as for `make bench`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import databases, machine, servers
from benchmarks.offered import Offered, Outcome
from benchmarks.requests import check, request
from benchmarks.servers import Server
from benchmarks.sign_in import sign_in
from benchmarks.tokens import token_of

SESSIONS, PEOPLE, RATE, FLOOD, SECONDS, AT_ONCE = 50_000, 2_000, 500.0, 2_000.0, 8.0, 256
KILLED_AFTER, AFTERWARDS = 4.0, 20.0
LINE = "{:<44} {:>7} {:>8} {:>8} {:>7}  {}"
HEALTH = request("/healthz", "a", [])
Make = Callable[[int], bytes]


def person(number: int) -> bytes:
    """Return the check of a user whom the workers know after a while."""
    return check(f"/docs/{number}.html", token_of(number % PEOPLE))


def newcomer(number: int) -> bytes:
    """Return the check of a user whom no worker knows yet."""
    return check("/docs/", token_of(PEOPLE + number))


def from_address(octets: bytes, number: int) -> bytes:
    address = b"10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)
    return octets.replace(b"198.51.100.7", address)


FLOODS: dict[str, Make] = {
    "made-up cookies, one address": lambda n: check("/", f"x{n:042x}"),
    "made-up cookies, 10,000 addresses": lambda n: from_address(check("/", f"x{n:042x}"), n % 10_000),
    "made-up API tokens": lambda n: check("/", authorization=f"Bearer ikd_{n:049d}"),
    "made-up codes": lambda n: check(f"/?ikdcode=x{n:042x}", url="/authgate/traefik"),
    "no cookie": lambda n: check(f"/page-{n}"),
}


def offer(*loads: tuple[Server, Make, float], seconds: float = SECONDS) -> list[Outcome]:
    """Send several loads at once."""

    async def run() -> list[Outcome]:
        offered = [Offered(server.address, make, rate) for server, make, rate in loads]
        return list(await asyncio.gather(*(each.run(seconds) for each in offered)))

    return asyncio.run(run())


def row(name: str, people: Outcome, others: str = "") -> dict[str, Any]:
    """Print and return what people saw: how long they waited, and how many were not let in."""
    found = {
        "name": name,
        "checks": len(people.answers) + people.unanswered,
        "p50_ms": people.wait_ms(0.5),
        "p99_ms": people.wait_ms(0.99),
        "failed": people.failed(frozenset((200,))),
    }
    print(LINE.format(*found.values(), others), flush=True)
    return found | {"others": others}


def measure(portal: Server) -> list[dict[str, Any]]:
    """Run every scenario against a portal."""
    print(LINE.format("what", "checks", "p50 ms", "p99 ms", "failed", "others"))
    offer((portal, person, RATE), seconds=2 * PEOPLE / RATE)
    found = [row("quiet: warm checks", offer((portal, person, RATE))[0])]
    for name, make in FLOODS.items():
        people, strangers = offer((portal, person, RATE), (portal, make, FLOOD))
        others = f"strangers {strangers.statuses()}, {strangers.unanswered} open"
        found.append(row(f"flood: {name}", people, others))
    flood = FLOODS["made-up cookies, 10,000 addresses"]
    cold, strangers = offer((portal, newcomer, 50.0), (portal, flood, FLOOD))
    found.append(row("flood: newcomers meanwhile", cold, f"strangers {strangers.statuses()}"))
    return [*found, _half_heads(portal), _restart(portal), _signing_in(portal)]


def _signing_in(portal: Server) -> dict[str, Any]:
    """Let many sign in at once by password."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        signing_in = [pool.submit(_signs_in, portal, number) for number in range(AT_ONCE)]
        people, health = offer((portal, person, RATE), (portal, lambda _: HEALTH, 20.0))
        done = sum(each.result() for each in signing_in)
    others = f"{done} at the first try, /healthz p99 {health.wait_ms(0.99)} ms"
    return row(f"{AT_ONCE} sign in at once", people, others)


def _signs_in(portal: Server, number: int) -> bool:
    try:
        sign_in(portal, number)
    except (RuntimeError, OSError):
        return False
    return True


def _half_heads(portal: Server) -> dict[str, Any]:
    """Open 2,000 connections that send half a head."""

    async def run() -> Outcome:
        writers = []
        for _ in range(2_000):
            try:
                _, writer = await asyncio.open_connection(*portal.address)
            except OSError:
                break
            writer.write(person(0)[:60])
            writers.append(writer)
        outcome = await Offered(portal.address, person, RATE).run(SECONDS)
        for writer in writers:
            writer.close()
        return outcome

    return row("2,000 half heads", asyncio.run(run()))


def _restart(portal: Server) -> dict[str, Any]:
    """Kill all processes that answer checks, under 2,000 checks a second of all sessions."""
    killed_at = time.monotonic() + KILLED_AFTER

    def kill() -> None:
        for pid in machine.checkers(portal.pid):
            os.kill(pid, signal.SIGKILL)

    threading.Timer(KILLED_AFTER, kill).start()
    everybody = (portal, lambda n: check("/docs/", token_of(n * 7919 % SESSIONS)), FLOOD)
    (people,) = offer(everybody, seconds=KILLED_AFTER + AFTERWARDS)
    late = Outcome([answer for answer in people.answers if answer[0] > killed_at + 10])
    wrong = people.failed(frozenset((200,)), killed_at + 2)
    others = f"2 s after it {wrong} failed, 10 s after it p99 {late.wait_ms(0.99)} ms"
    return row("all workers killed", people, others)


def main() -> None:
    kind = os.environ.get("DATABASE") or "sqlite"
    if kind not in databases.KINDS:
        sys.exit(f"DATABASE must be {' or '.join(databases.KINDS)}, is {kind!r}")
    with tempfile.TemporaryDirectory(prefix="ikd-storm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with databases.begun(kind, folder) as make:
            empty = make(folder / "var-empty", None)
            databases.fill(empty, "")
            var = make(folder / "var", empty)
            databases.fill(var, json.dumps({"sessions": SESSIONS, "users": 10_000, "passwords": AT_ONCE + 1}))
            print(f"{SESSIONS} sessions on {databases.NOTES[kind]}, {os.cpu_count()} cores for all")
            with servers.portal("storm", var, workers=2, core=None) as portal:
                found = measure(portal)
    output = Path(os.environ.get("IKD_VAR") or servers.ROOT / "var") / f"storm-{kind}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
