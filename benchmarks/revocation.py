"""Measures how long checks are still allowed after the transaction that removed access has committed."""

from __future__ import annotations

import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import databases, machine, requests, servers
from benchmarks.data import KINDS
from benchmarks.databases import Database
from benchmarks.load import prepare, wrk
from benchmarks.plan import Run
from benchmarks.servers import Server
from benchmarks.tokens import digest_of, token_of

WORKERS = 4
PROBES_EACH = 2
PAUSE = 0.001
"""Seconds between an answer and the next check on the same connection."""

GIVE_UP_AFTER = 15.0
NOW = {"sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')", "postgresql": "now()"}
CHANGES = {
    "end session": "UPDATE authgate_signin SET ended_at = NOW WHERE id = :sign_in",
    "disable user": "UPDATE accounts_user SET is_active = FALSE WHERE id = :user",
    "remove from group": "DELETE FROM accounts_user_groups WHERE user_id = :user",
    "change a rule": "UPDATE authgate_rule SET who = 'chosen' WHERE application_id = "
    "(SELECT application_id FROM authgate_origin WHERE value = :origin)",
}


class Probe:
    """A keep-alive connection that sends the same check repeatedly."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.waits = False
        self.ask_at = 0.0
        self.allowed = self.refused = 0
        self.last_allowed = 0.0

    def begin(self) -> None:
        self.allowed = self.refused = 0
        self.last_allowed = 0.0

    def ask(self, request: bytes) -> None:
        self.socket.sendall(request)
        self.waits = True

    def hear(self) -> None:
        """Read from the socket and record the answer once it is complete. `refused` counts those in a row."""
        self.buffer += self.socket.recv(65536)
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if not separator or len(body) < length:
            return
        now = time.monotonic()
        self.waits, self.ask_at, self.buffer = False, now + PAUSE, b""
        if head.startswith(b"HTTP/1.1 200"):
            self.allowed, self.refused, self.last_allowed = self.allowed + 1, 0, now
        else:
            self.refused += 1


def measure_revocation(run: Run, var: Path, first: int) -> dict[str, dict[str, float]]:
    """Return delays in ms for each kind of change. Sessions are numbered from `first`, `trials` each."""
    found: dict[str, dict[str, float]] = {}
    with servers.portal("four workers", var, workers=WORKERS, core=None) as portal:
        load = prepare(run.folder, "full-load", requests.checks(requests.tokens(min(first, 1_000))))
        with _full_load(portal, load), databases.opened(var) as database:
            probes = _spread_probes(portal)
            for number, kind in enumerate(KINDS):
                delays = []
                numbers = range(first + number * run.plan.trials, first + (number + 1) * run.plan.trials)
                for done, session in enumerate(numbers):
                    run.say(f"revocation delay: {kind}, {done + 1} of {len(numbers)}")
                    delays.append(_trial(probes, database, kind, session))
                found[kind] = _summary(delays) | {"came_back": _came_back(probes, database, numbers)}
            for probe in probes:
                probe.socket.close()
    return found


@contextmanager
def _full_load(portal: Server, load: Any) -> Iterator[None]:
    """Keep every worker busy while the block runs."""
    command = wrk(portal.address, replace(load, connections=64), 3600)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _spread_probes(portal: Server) -> list[Probe]:
    """Open connections until every worker serves PROBES_EACH of them."""
    by_worker: dict[int, list[Probe]] = {worker: [] for worker in machine.checkers(portal.pid)}
    for _ in range(400):
        probe = Probe(portal.address)
        worker = _worker_of(probe, portal, list(by_worker))
        if worker is not None and len(by_worker[worker]) < PROBES_EACH:
            by_worker[worker].append(probe)
        else:
            probe.socket.close()
        if len(by_worker) == WORKERS and all(len(each) == PROBES_EACH for each in by_worker.values()):
            return [probe for each in by_worker.values() for probe in each]
    raise RuntimeError("some worker takes no connections")


def _worker_of(probe: Probe, portal: Server, workers: list[int]) -> int | None:
    until = time.monotonic() + 2
    while time.monotonic() < until:
        inode = machine.server_socket(portal.address[1], probe.socket.getsockname()[1])
        for worker in workers if inode not in (None, "0") else ():
            if inode in machine.sockets_of(worker):
                return worker
        time.sleep(0.005)  # no worker has accepted it yet
    return None


def _trial(probes: list[Probe], database: Database, kind: str, session: int) -> float:
    """Remove access from a session that all workers know. Return the ms until the last one refuses it."""
    keys = _keys(database, session)
    request = requests.check("/docs/", token_of(session), host=keys["origin"].removeprefix("https://"))
    for probe in probes:
        probe.begin()
    _ask_until(probes, request, lambda probe: probe.allowed >= 2)
    committed = database.change(CHANGES[kind].replace("NOW", NOW[database.kind]), keys)
    for probe in probes:
        probe.refused = 0
    _ask_until(probes, request, lambda probe: probe.refused >= 2)
    return max(0.0, max(probe.last_allowed for probe in probes) - committed) * 1000


def _keys(database: Database, session: int) -> dict[str, Any]:
    row = database.row(
        "SELECT g.origin, s.id, s.user_id FROM authgate_gatesession g "
        "JOIN authgate_signin s ON s.id = g.sign_in_id WHERE g.token_digest = :digest",
        {"digest": digest_of(session)},
    )
    return {"origin": row[0], "sign_in": row[1], "user": row[2]}


def _ask_until(probes: list[Probe], request: bytes, is_done: Any) -> None:
    """Send the check on every connection repeatedly until each is done. Raises TimeoutError."""
    until = time.monotonic() + GIVE_UP_AFTER
    with selectors.DefaultSelector() as selector:
        for probe in probes:
            selector.register(probe.socket, selectors.EVENT_READ, probe)
        while not all(is_done(probe) for probe in probes) or any(probe.waits for probe in probes):
            now = time.monotonic()
            if now > until:
                raise TimeoutError(f"answers so far: {[(probe.allowed, probe.refused) for probe in probes]}")
            are_done = all(is_done(probe) for probe in probes)
            for probe in probes:
                if not probe.waits and not are_done and now >= probe.ask_at:
                    probe.ask(request)
            for key, _ in selector.select(PAUSE):
                key.data.hear()


def _came_back(probes: list[Probe], database: Database, numbers: range) -> int:
    """Check every session once more. Return how many are allowed again, which must be none."""
    allowed = 0
    for session in numbers:
        host = _keys(database, session)["origin"].removeprefix("https://")
        for probe in probes:
            probe.begin()
        _ask_until(
            probes,
            requests.check("/", token_of(session), host=host),
            lambda probe: probe.allowed + probe.refused > 0,
        )
        allowed += any(probe.allowed for probe in probes)
    return allowed


def _summary(delays: list[float]) -> dict[str, float]:
    ordered = sorted(delays)
    return {
        "p50": round(ordered[len(ordered) // 2], 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "worst": round(ordered[-1], 1),
    }
