"""The queue before the threads that wait for providers, and the number of those threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from accounts.upstreams import provider_threads
from ikd_portal import thread_queue
from ikd_portal.thread_queue import ThreadQueue, line_of

LINES: dict[str, tuple[str, bytes, str | None]] = {
    "going to a provider": ("/upstreams/campus/start", b"next=/", "campus"),
    "coming back": ("/upstreams/campus/callback", b"code=x", "campus"),
    "linking": ("/accounts/providers/link/campus/", b"", "campus"),
    "coming back from CAS": ("/auth/ssologin", b"state=x&upstream=campus&ticket=ST-1", "campus"),
    "coming back from a CAS server without a name": ("/auth/ssologin", b"ticket=ST-1", "/auth/ssologin"),
    "going to CAS": ("/auth/ssologin", b"next=/", None),
    "confirming": ("/accounts/providers/confirm/", b"", "/accounts/providers/confirm/"),
    "signing out there": ("/signed-out/provider", b"at=x", "/signed-out/provider"),
    "the sign-in page": ("/accounts/login/", b"next=/upstreams/campus/start", None),
    "a check": ("/authgate/traefik", b"", None),
    "a page below": ("/upstreams/campus/start/x", b"", None),
}


@pytest.mark.parametrize(("path", "query", "line"), LINES.values(), ids=LINES)
def test_requests_wait_in_the_line_of_their_provider(path: str, query: bytes, line: str | None) -> None:
    assert line_of(path, query) == line


async def hold(queue: ThreadQueue, line: str, done: asyncio.Event) -> bool:
    async with queue.turn(line) as is_admitted:
        if is_admitted:
            await done.wait()
        return is_admitted


def begun(*work: Coroutine[Any, Any, bool]) -> list[asyncio.Task[bool]]:
    return [asyncio.ensure_future(each) for each in work]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_no_number_of_slow_providers_takes_all_threads() -> None:
    async def story() -> bool:
        queue, never, at_once = ThreadQueue(32), asyncio.Event(), asyncio.Event()
        at_once.set()
        slow = begun(*(hold(queue, f"slow-{n % 4}", never) for n in range(200)))
        await settled()
        quick = await asyncio.wait_for(hold(queue, "quick", at_once), 5)
        never.set()
        await asyncio.gather(*slow)
        return quick

    assert asyncio.run(story())


def test_requests_get_their_turn_in_order() -> None:
    async def story() -> list[int]:
        queue, served = ThreadQueue(4), []

        async def ask(number: int) -> None:
            async with queue.turn("campus") as is_admitted:
                assert is_admitted
                await asyncio.sleep(0)
                served.append(number)

        await asyncio.gather(*(ask(number) for number in range(200)))
        return served

    assert asyncio.run(story()) == list(range(200))


def test_a_request_that_waits_too_long_is_refused_and_leaves_no_trace() -> None:
    async def story() -> tuple[bool, bool]:
        queue, done = ThreadQueue(2, wait=0.05), asyncio.Event()
        [first] = begun(hold(queue, "campus", done))
        await settled()
        late = await hold(queue, "campus", done)
        done.set()
        await first
        return late, await hold(queue, "campus", done)

    assert asyncio.run(story()) == (False, True)


def test_a_hanging_provider_keeps_no_other_request_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_queue, "SLOW_AFTER", 0.0)

    async def story() -> list[bool]:
        queue, done = ThreadQueue(16, wait=60), asyncio.Event()
        visits = begun(*(hold(queue, "campus", done) for _ in range(40)))
        await settled()
        done.set()
        return list(await asyncio.wait_for(asyncio.gather(*visits), 5))

    admitted = asyncio.run(story())

    assert admitted[:8] == [True] * 8
    assert admitted[-8:] == [False] * 8


def test_a_client_that_disconnects_leaves_the_queue() -> None:
    async def story() -> bool:
        queue, done = ThreadQueue(2), asyncio.Event()
        first, waits, goes, last = begun(*(hold(queue, "campus", done) for _ in range(4)))
        await settled()
        goes.cancel()
        waits.cancel()
        done.set()
        return (await asyncio.gather(first, last)) == [True, True]

    assert asyncio.run(story())


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_queue, "LONGEST_QUEUE", 3)

    async def story() -> list[bool]:
        queue, done = ThreadQueue(2), asyncio.Event()
        visits = begun(*(hold(queue, "campus", done) for _ in range(6)))
        await settled()
        done.set()
        return list(await asyncio.gather(*visits))

    assert asyncio.run(story()) == [True, True, True, True, False, False]


# ---- the number of threads --------------------------------------------------------------------------------


def test_few_threads_work_while_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_threads, "_places", threading.BoundedSemaphore(2))
    everybody, working, most, counting = threading.Barrier(12), 0, 0, threading.Lock()

    def work(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        nonlocal working, most
        for _ in range(2):
            with counting:
                working += 1
                most = max(most, working)
            time.sleep(0.005)
            with counting:
                working -= 1
            with provider_threads.waiting():
                everybody.wait(60)  # each waits while all others wait
        return [b"done"]

    application = provider_threads.limit_working_threads(work)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: application({}, None), range(12)))

    assert answers == [[b"done"]] * 12
    assert most <= 2


def test_a_request_waits_for_all_its_answers_within_one_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provider_threads, "WAITING_WITHIN", 5.0)
    left: list[float] = []

    def work(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for _ in range(2):
            left.append(provider_threads.seconds_left(4.0))
            with provider_threads.waiting():
                time.sleep(1.2)
        left.append(provider_threads.seconds_left(4.0))
        return []

    provider_threads.limit_working_threads(work)({}, None)

    assert left[0] == 4.0
    assert left[1] < 3.9 and left[2] < 2.7
    assert provider_threads.seconds_left(4.0) == 4.0
