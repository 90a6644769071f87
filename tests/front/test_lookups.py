"""Checks that memory cannot answer wait in one queue: in turn by network, and never forever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from authgate.check.context import Context
from authgate.check.missing import MissingSession
from authgate.check.pipeline import read
from authgate.check.request import Facts, RequestHeaders
from authgate.check.responses import Answer
from authgate.endpoints.check_view import answer_alone
from authgate.worker import feed as feed_module
from authgate.worker import loader, lookups
from authgate.worker.feed import Feed
from authgate.worker.lookups import FairQueue, Lookup, Lookups
from authgate.worker.memory import WorkerMemory
from tests.front.serving import (
    PUBLIC,
    WIKI,
    Cast,
    Connection,
    Database,
    Portal,
    check_bytes,
    eventually,
    signed_in,
)


def lookup(client: str = "192.0.2.1", key: bytes = b"k", asked_at: float = 0.0) -> Lookup:
    return Lookup(Facts("/authgate/nginx", "", RequestHeaders({}), None, 0.0), key, client, print, asked_at)


# ---- the queue --------------------------------------------------------------------------------------------


def test_networks_are_served_in_turn() -> None:
    queue = FairQueue()
    for client in ["192.0.2.1"] * 5 + ["192.0.2.2", "2001:db8::1", "2001:db8::2"]:
        queue.put(lookup(client))

    taken = [each.client for each in queue.take(6)]

    assert taken == ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.1"]
    assert len(queue) == 2


def test_no_network_fills_the_queue() -> None:
    queue = FairQueue(limit=10, of_a_network=4)

    taken = [queue.put(lookup("2001:db8::1")) for _ in range(6)]

    assert taken == [True] * 4 + [False] * 2
    assert queue.put(lookup("192.0.2.2"))


def test_the_queue_is_bounded_however_many_networks_ask() -> None:
    queue = FairQueue(limit=10)

    assert sum(queue.put(lookup(f"192.0.2.{number}")) for number in range(50)) == 10


def test_a_check_that_the_proxy_gave_up_is_not_looked_up() -> None:
    queue = FairQueue()
    kept, left = lookup(), lookup()
    queue.put(left)
    queue.put(kept)
    left.given_up = True

    assert queue.take(10) == [kept]


def test_a_check_that_waited_too_long_leaves_the_queue() -> None:
    queue = FairQueue()
    old, new = lookup(asked_at=1.0), lookup(asked_at=9.0)
    queue.put(old)
    queue.put(new)

    assert queue.take_overdue(5.0) == [old]
    assert queue.take(10) == [new]


# ---- a worker ---------------------------------------------------------------------------------------------


class Waiters:
    """A worker's lookups on their own loop, with their results."""

    def __init__(self, worker: Feed) -> None:
        self.loop = asyncio.new_event_loop()
        self.answers: list[Answer] = []
        self.lookups = Lookups(worker, self.loop, answer_alone)

    def ask(self, *tokens: str) -> list[Lookup | None]:
        return [
            self.lookups.submit(facts(token), MissingSession(digest(token)), self.answers.append)
            for token in tokens
        ]

    def run_until(self, is_so: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(15):
                while not is_so():
                    await asyncio.sleep(0.01)

        self.loop.run_until_complete(wait())


def digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def facts(token: str) -> Facts:
    lines = check_bytes(f"__Host-ikd_gate={token}").split(b"\r\n")[1:-2]
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    return Facts("/authgate/nginx", "", RequestHeaders(headers), "127.0.0.1", 0.0)


@pytest.fixture
def waiters(database: Database, people: Cast) -> Iterator[Waiters]:
    feed_module.current = worker = Feed(WorkerMemory(loader.gate_settings(), clock=feed_module.boottime))
    worker.ensure_fresh()
    worker.fresh_until = float("inf")
    waiters = Waiters(worker)
    yield waiters
    feed_module.current = None
    waiters.loop.close()


def test_one_query_serves_all_waiting_checks(waiters: Waiters) -> None:
    waiters.ask(*map(str, range(100)))

    waiters.lookups.start()
    waiters.run_until(lambda: len(waiters.answers) == 100)

    assert (waiters.lookups.batches, waiters.lookups.looked_up) == (1, 100)
    assert {answer.status for answer in waiters.answers} == {401}


def test_checks_that_come_in_one_round_of_the_loop_share_a_query(waiters: Waiters) -> None:
    def ask_slowly() -> None:
        waiters.ask("a")
        time.sleep(0.1)
        waiters.ask("b", "c")

    waiters.lookups.start()
    waiters.loop.call_soon(ask_slowly)
    waiters.run_until(lambda: len(waiters.answers) == 3)

    assert (waiters.lookups.batches, waiters.lookups.looked_up) == (1, 3)


def test_a_waiting_check_is_decided_by_the_newest_state_of_its_application(
    waiters: Waiters, people: Cast
) -> None:
    memory, token = waiters.lookups._feed.memory, people.alice_cookie.partition("=")[2]
    context = read(facts(token), memory)
    assert isinstance(context, Context)
    missing = MissingSession(digest(token))
    wiki = context.application

    def ask() -> None:
        waiters.lookups.submit(facts(token), missing, waiters.answers.append, context)

    waiters.lookups.start()
    ask()
    waiters.run_until(lambda: len(waiters.answers) == 1)
    ask()
    memory.hold_applications([(replace(wiki, enabled=False), (WIKI,))])
    waiters.run_until(lambda: len(waiters.answers) == 2)
    ask()
    memory.forget_application(wiki.id)
    waiters.run_until(lambda: len(waiters.answers) == 3)

    assert [answer.status for answer in waiters.answers] == [200, 403, 403]
    reasons = [answer.refusal and answer.refusal.reason for answer in waiters.answers]
    assert reasons == [None, "application disabled", "unknown origin"]


def test_a_check_that_waited_for_fresh_memory_then_waits_for_its_session(waiters: Waiters) -> None:
    waiters.lookups.submit(facts("n"), Answer(200), waiters.answers.append)

    waiters.lookups.start()
    waiters.run_until(lambda: bool(waiters.answers))

    assert (waiters.answers[0].status, waiters.lookups.batches) == (401, 2)


def test_an_unknown_cookie_is_not_looked_up_again(waiters: Waiters) -> None:
    waiters.lookups.start()
    waiters.ask("n")
    waiters.run_until(lambda: bool(waiters.answers))

    assert waiters.lookups._feed.memory.session(digest("n"), 0.0) is None


def test_checks_beyond_the_queue_get_503(waiters: Waiters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters.lookups, "_queue", FairQueue(limit=3))

    queued = waiters.ask(*map(str, range(5)))

    assert [each is not None for each in queued] == [True, True, True, False, False]
    assert waiters.lookups.shed == 2


def test_a_database_that_does_not_answer_holds_no_check_for_long(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread hangs. Its checks get 503, and another thread handles later ones."""
    hangs = threading.Event()
    load = loader.load_held

    def load_or_hang(keys: list[bytes]) -> Any:
        if keys == [digest("h")]:
            hangs.wait(20)
        return load(keys)

    monkeypatch.setattr(loader, "load_held", load_or_hang)
    monkeypatch.setattr(lookups, "PATIENCE", 0.2)
    monkeypatch.setattr(lookups, "LOOK_EVERY", 0.05)
    waiters.lookups.start()
    waiters.ask("h")
    waiters.run_until(lambda: len(waiters.answers) == 1)

    waiters.ask("n")
    waiters.run_until(lambda: len(waiters.answers) == 2)
    hangs.set()

    assert [answer.status for answer in waiters.answers] == [503, 401]
    assert dict(waiters.answers[0].headers)[b"retry-after"] == b"1"


def test_a_failed_query_admits_no_user(waiters: Waiters, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(keys: list[bytes]) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(loader, "load_held", fail)
    waiters.lookups.start()
    waiters.ask("n", "m")
    waiters.run_until(lambda: len(waiters.answers) == 2)

    assert [answer.status for answer in waiters.answers] == [503, 503]


# ---- a server ---------------------------------------------------------------------------------------------


@pytest.fixture
def cold(database: Database, people: Cast, tmp_path: Path) -> Iterator[Portal]:
    """A server that has read nothing yet."""
    portal = Portal(tmp_path, database).start()
    yield portal
    portal.stop()


def test_a_cold_worker_admits_all_users_at_once(cold: Portal, database: Database, people: Cast) -> None:
    cookies = [signed_in(people.alice) for _ in range(120)]

    with ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(cold.ask, cookies))

    assert {(reply.status, reply.header("x-auth-request-user")) for reply in replies} == {(200, "alice")}


def test_forged_cookies_get_401(cold: Portal) -> None:
    with cold.connect() as connection:
        statuses = [connection.check(f"__Host-ikd_gate=made-up-{number}").status for number in range(50)]

    assert statuses == [401] * 50


def test_requests_after_a_waiting_check_keep_their_order(cold: Portal, people: Cast) -> None:
    with cold.connect() as connection:
        connection.send(
            check_bytes(people.alice_cookie)
            + check_bytes(people.bob_cookie)
            + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
            + check_bytes(origin=PUBLIC)
        )

        assert [connection.reply().status for _ in range(4)] == [200, 403, 200, 200]


def test_a_proxy_that_disconnects_leaves_no_waiting_check(
    cold: Portal, database: Database, people: Cast
) -> None:
    for number in range(20):
        with cold.connect() as connection:
            connection.send(check_bytes(f"__Host-ikd_gate=gone-{number}"))

    assert cold.ask(people.alice_cookie).status == 200
    (worker,) = cold.workers()
    assert eventually(lambda: len(list(Path(f"/proc/{worker}/fd").iterdir())) < 60)


def test_a_check_that_waits_when_the_server_ends_is_answered(
    cold: Portal, database: Database, people: Cast
) -> None:
    assert cold.process is not None
    cold.ask()
    with Connection(cold.address) as connection:
        connection.send(check_bytes(people.alice_cookie))
        cold.process.terminate()

        assert connection.reply().status == 200
        assert connection.is_closed(10)
