"""Scenarios of heavy load: `python -m benchmarks.storm`. Two workers and the load share all cores.

Each figure is shown with its value without load from the same run. DATABASE=postgresql works as for `make
bench`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import databases, machine, servers
from benchmarks.issuer import forged_jwt, issuer
from benchmarks.load import Unexpected, status_of
from benchmarks.offered import Offered, Outcome
from benchmarks.requests import check, request
from benchmarks.revocation import NOW
from benchmarks.servers import Server
from benchmarks.sign_in import browser_signed_in, sign_in
from benchmarks.tokens import digest_of, token_of

BROWSERS_NICENESS = 10
PEOPLE, RATE, FLOOD = 2_000, 500.0, 2_000.0
KILLED_AFTER = 4.0
OVERLOADS = (500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0)
"""Cold checks a second that are sent to one worker. The last rates exceed what it can answer."""


@dataclass(frozen=True, slots=True)
class Size:
    sessions: int
    seconds: float
    at_once: int
    afterwards: float
    """Seconds of load after all workers were killed."""

    revocations: int


WHOLE = Size(sessions=50_000, seconds=8.0, at_once=256, afterwards=20.0, revocations=20)
SMALL = Size(sessions=5_000, seconds=1.0, at_once=16, afterwards=3.0, revocations=2)
LINE = "{:<44} {:>7} {:>8} {:>8} {:>7}  {}"
HEALTH = request("/healthz", "a", [])
END = (
    "UPDATE authgate_signin SET ended_at = NOW WHERE id = "
    "(SELECT sign_in_id FROM authgate_gatesession WHERE token_digest = :digest)"
)
EXPORT = "/admin/authgate/application/access/"
Make = Callable[[int], bytes]
T = TypeVar("T")
_FORK = multiprocessing.get_context("fork")


def person(number: int) -> bytes:
    """Return the check of a user in the workers' memory, after a warm-up."""
    return check(f"/docs/{number}.html", token_of(number % PEOPLE))


def newcomer(number: int) -> bytes:
    """Return the check of a user who is in no worker's memory yet."""
    return check("/docs/", token_of(PEOPLE + number))


def from_address(octets: bytes, number: int) -> bytes:
    address = b"10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)
    return octets.replace(b"198.51.100.7", address)


def floods(issuer: str) -> dict[str, Make]:
    """Return the attackers' requests by name, each a function of the request's number."""
    return {
        "made-up cookies, one address": lambda n: check("/", f"x{n:042x}"),
        "made-up cookies, 10,000 addresses": lambda n: from_address(check("/", f"x{n:042x}"), n % 10_000),
        "made-up API tokens": lambda n: check("/", authorization=f"Bearer ikd_{n:049d}"),
        "made-up JWTs": lambda n: check("/", authorization=f"Bearer {forged_jwt(issuer, n)}"),
        "made-up codes": lambda n: check(f"/?ikdcode=x{n:042x}", url="/authgate/traefik"),
        "no cookie": lambda n: check(f"/page-{n}"),
    }


def in_process(work: Callable[[], T]) -> Callable[[], T]:
    """Start work in another process. Return a function that waits for its result.

    A separate process measures the users' waiting times. Otherwise the cost of creating attackers' requests
    would count as the portal's.
    """
    here, there = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=lambda: there.send(work()), daemon=True)
    process.start()
    there.close()

    def result() -> T:
        found: T = here.recv()
        process.join()
        return found

    return result


def offer(*loads: tuple[Server, Make, float], seconds: float) -> list[Outcome]:
    """Send several loads at once, each from another process."""
    results = [in_process(partial(_offered, *load, seconds)) for load in loads]
    return [result() for result in results]


def _offered(server: Server, make: Make, rate: float, seconds: float) -> Outcome:
    if rate <= RATE:
        _run_first()
    return asyncio.run(Offered(server.address, make, rate).run(seconds))


def _run_first() -> None:
    """Run this process as soon as it has work, because real users have their own machines.

    Otherwise its waits for a processor would count as the portal's.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def row(name: str, people: Outcome, others: str = "") -> dict[str, Any]:
    """Print and return the users' results: how long they waited, and how many were refused."""
    found = {
        "name": name,
        "checks": len(people.answers) + people.unanswered,
        "p50_ms": people.wait_ms(0.5),
        "p99_ms": people.wait_ms(0.99),
        "failed": people.failed(frozenset((200,))),
    }
    print(LINE.format(*found.values(), others), flush=True)
    return found | {"others": others}


@dataclass(frozen=True, slots=True)
class Storm:
    """A portal under load, with everything that its scenarios need."""

    portal: Server
    var: Path
    issuer: str
    size: Size

    def measure(self) -> list[dict[str, Any]]:
        """Run every scenario except the overload."""
        print(LINE.format("what", "checks", "p50 ms", "p99 ms", "failed", "others"))
        seconds = self.size.seconds
        offer((self.portal, person, RATE), seconds=2 * PEOPLE / RATE)
        found = [row("quiet: warm checks", offer((self.portal, person, RATE), seconds=seconds)[0])]
        for name, make in floods(self.issuer).items():
            people, strangers = offer(
                (self.portal, person, RATE), (self.portal, make, FLOOD), seconds=seconds
            )
            others = f"strangers {strangers.statuses()}, {strangers.unanswered} open"
            found.append(row(f"flood: {name}", people, others))
        flood = floods(self.issuer)["made-up cookies, 10,000 addresses"]
        cold, strangers = offer((self.portal, newcomer, 50.0), (self.portal, flood, FLOOD), seconds=seconds)
        found.append(row("flood: newcomers meanwhile", cold, f"strangers {strangers.statuses()}"))
        found.append(self._revocation(flood))
        # The restart comes last, because the processes after it know fewer users.
        return [*found, self._half_heads(), self._signing_in(), self._restart()]

    def _revocation(self, flood: Make) -> dict[str, Any]:
        """End sessions during a flood."""
        count = self.size.revocations
        with ThreadPoolExecutor(1) as pool:
            revoking = pool.submit(revoked_after, self.portal, self.var, range(count))
            people, _ = offer(
                (self.portal, person_kept, RATE), (self.portal, flood, FLOOD), seconds=self.size.seconds
            )
            delays = revoking.result()
        others = f"{len(delays)} sessions ended, refused everywhere after at most {max(delays):.0f} ms"
        return row("flood: sessions end meanwhile", people, others) | {"revoked_ms": max(delays)}

    def _signing_in(self) -> dict[str, Any]:
        """Sign in many users at once by password, while an administrator exports who has access to what."""
        at_once = self.size.at_once
        administrator = browser_signed_in(self.portal, at_once)
        exporting = in_process(partial(_export_for, self.portal, administrator, self.size.seconds))
        signing_in = in_process(partial(_sign_in_at_once, self.portal, at_once))
        people, health = offer(
            (self.portal, person_kept, RATE), (self.portal, lambda _: HEALTH, 20.0), seconds=self.size.seconds
        )
        others = f"{signing_in()} at the first try, /healthz p99 {health.wait_ms(0.99)} ms"
        others += f", {exporting() / 1e6:.1f} MB exported"
        return row(f"{at_once} sign in at once, one exports", people, others)

    def _half_heads(self) -> dict[str, Any]:
        """Open 2,000 connections that send half a head."""

        async def run() -> Outcome:
            writers = []
            for _ in range(2_000):
                try:
                    _, writer = await asyncio.open_connection(*self.portal.address)
                except OSError:
                    break
                writer.write(person(0)[:60])
                writers.append(writer)
            outcome = await Offered(self.portal.address, person_kept, RATE).run(self.size.seconds)
            for writer in writers:
                writer.close()
            return outcome

        return row("2,000 half heads", asyncio.run(run()))

    def _restart(self) -> dict[str, Any]:
        """Kill all processes that answer checks, under 2,000 checks a second of all sessions."""
        killed_at = time.monotonic() + KILLED_AFTER

        def kill() -> None:
            for pid in machine.checkers(self.portal.pid):
                os.kill(pid, signal.SIGKILL)

        threading.Timer(KILLED_AFTER, kill).start()
        kept = self.size.sessions - PEOPLE
        everybody = (self.portal, lambda n: check("/docs/", token_of(PEOPLE + n * 7919 % kept)), FLOOD)
        (people,) = offer(everybody, seconds=KILLED_AFTER + self.size.afterwards)
        late = Outcome([answer for answer in people.answers if answer[0] > killed_at + 10])
        wrong = people.failed(frozenset((200,)), killed_at + 2)
        others = f"2 s after it {wrong} failed, 10 s after it p99 {late.wait_ms(0.99)} ms"
        return row("all workers killed", people, others)


def person_kept(number: int) -> bytes:
    """Return the check of a user whose session no scenario ends."""
    return person(PEOPLE // 2 + number % (PEOPLE // 2))


def revoked_after(portal: Server, var: Path, numbers: Iterable[int]) -> list[float]:
    """End sessions in the database. Return for each the ms until every worker refused it."""
    delays = []
    with databases.opened(var) as database:
        for number in numbers:
            asked = check("/docs/", token_of(number))
            committed = database.change(END.replace("NOW", NOW[database.kind]), {"digest": digest_of(number)})
            last, refused = committed, 0
            while refused < 8:  # new connections, so that each worker gets a check
                began = time.monotonic()
                if status_of(portal, asked) == 200:
                    last, refused = began, 0
                else:
                    refused += 1
            delays.append((last - committed) * 1000)
    return delays


def overload(var: Path, size: Size) -> dict[str, Any]:
    """Send more and more cold checks to one worker. Return how many it answered with 200 in a second."""
    found = {}
    with servers.portal("overload", var, IKD_MEMORY_SESSIONS="1") as portal:
        for rate in OVERLOADS:
            cold = (
                portal,
                lambda n: check("/docs/", token_of(PEOPLE + n * 7919 % (size.sessions - PEOPLE))),
                rate,
            )
            (people,) = offer(cold, seconds=size.seconds)
            found[rate] = people.within(size.seconds, 200) / size.seconds
            others = f"{found[rate]:.0f} let in a second, {people.statuses()}"
            row(f"one worker, {rate:.0f} cold checks a second", people, others)
    share = found[OVERLOADS[-1]] / max(found.values())
    print(f"  at the highest rate it let in {share:.0%} of the most that it let in at any rate")
    return {"let_in_a_second": found, "share_at_the_highest_rate": share}


def _sign_in_at_once(portal: Server, count: int) -> int:
    """Return how many of `count` users, all at once, were signed in at the first try.

    Real users' browsers run on other machines, so here they get a lower priority than the measured processes.
    """
    os.nice(BROWSERS_NICENESS)
    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(partial(_signs_in, portal), range(count)))


def _signs_in(portal: Server, number: int) -> bool:
    try:
        sign_in(portal, number)
    except (RuntimeError, OSError):
        return False
    return True


def _export_for(portal: Server, cookies: str, seconds: float) -> int:
    """Download the list of who has access to what repeatedly. Return the number of bytes."""
    os.nice(BROWSERS_NICENESS)
    until, received = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        connection = http.client.HTTPConnection(*portal.address, timeout=60)
        headers = {"Host": servers.PORTAL_URL.partition("//")[2], "Cookie": cookies}
        connection.request("GET", EXPORT, headers=headers | {"X-Forwarded-Proto": "http"})
        answer = connection.getresponse()
        if answer.status not in (200, 503):
            raise Unexpected(f"the export answers {answer.status}")
        while answer.status == 200 and time.monotonic() < until and (part := answer.read(65_536)):
            received += len(part)
        connection.close()
        time.sleep(0.1)
    return received


def run(folder: Path, make: databases.Make, empty: Path, size: Size) -> dict[str, Any]:
    """Fill a database, run every scenario and print the table."""
    with issuer() as url:
        var = make(folder / "var-storm", empty)
        wanted = {"sessions": size.sessions, "users": 10_000, "passwords": size.at_once + 1, "issuer": url}
        wanted["administrators"] = 1
        databases.fill(var, json.dumps(wanted))
        with servers.portal("storm", var, workers=2, core=None) as portal:
            table = Storm(portal, var, url, size).measure()
    return {"table": table, "overload": overload(var, size)}


def main() -> None:
    kind = os.environ.get("DATABASE") or "sqlite"
    if kind not in databases.KINDS:
        sys.exit(f"DATABASE must be {' or '.join(databases.KINDS)}, is {kind!r}")
    with tempfile.TemporaryDirectory(prefix="ikd-storm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with databases.started(kind, folder) as make:
            empty = make(folder / "var-empty", None)
            databases.fill(empty, "")
            size = SMALL if os.environ.get("QUICK", "") not in ("", "0") else WHOLE
            print(f"{size.sessions} sessions on {databases.NOTES[kind]}, {os.cpu_count()} cores for all")
            found = run(folder, make, empty, size)
    output = Path(os.environ.get("IKD_VAR") or servers.ROOT / "var") / f"storm-{kind}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
