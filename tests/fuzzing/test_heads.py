"""Heads as bytes on a connection. The server's protocol and Django's view must read them alike."""

from __future__ import annotations

import os
import random
import time

import time_machine

from authgate.network_limits import WrongTries
from authgate.worker.feed import Feed
from tests.front.serving import Cast
from tests.front.test_same_as_view import (
    NO_REQUEST,
    NOW,
    in_any_order,
    parsed,
    through_the_front,
    through_the_view,
)
from tests.fuzzing.mutation import mutated
from tests.fuzzing.test_fuzzing import CORPUS, SECONDS, SEED

SECONDS_OF_HEADS = SECONDS / 3
OPEN_TO_EVERYONE = (b"public", b"sso.example.com")


def test_changed_heads_are_read_alike_and_admit_no_request(
    worker: Feed, cookies: list[str], people: Cast
) -> None:
    source = random.Random(f"{SEED} heads")
    seeds = [path.read_bytes() for path in sorted((CORPUS / "heads").iterdir())]
    seeds = [seed.replace(b"ALICES-COOKIE", cookies[0].encode()).replace(b"\n", b"\r\n") for seed in seeds]
    until, left = time.monotonic() + SECONDS_OF_HEADS, list(seeds)
    answered = 0
    while left or time.monotonic() < until:
        octets = left.pop() if left else mutated(source, seeds)
        try:
            answered += compare(octets, worker, cookies)
        except Exception as error:
            error.add_note(f"IKD_FUZZ_SEED={SEED}: {octets!r}")
            raise

    assert answered > len(seeds) // 2, os.environ.get("IKD_FUZZ_SECONDS")


def compare(octets: bytes, worker: Feed, cookies: list[str]) -> bool:
    """Compare both answers to a head. Return whether the protocol answered it."""
    with time_machine.travel(NOW, tick=False):
        worker.memory.forget(everybody=True)
        worker.memory._wrong = WrongTries()
        written, left = through_the_front(octets, "127.0.0.1")
        if not written.startswith(b"HTTP/1.1 ") or written.startswith(NO_REQUEST) or left is not None:
            return False
        answer = in_any_order(parsed(written))
        is_one_request = octets.count(b"\r\n\r\n") == 1 and octets.endswith(b"\r\n\r\n")
        if answer[0] == 200 and answer[2] != b"ok\n":
            lower = octets.lower()
            assert any(each.encode() in octets for each in cookies[:3]) or any(
                each in lower for each in OPEN_TO_EVERYONE
            )
        if is_one_request and b"/healthz" not in octets:
            assert answer == in_any_order(through_the_view(octets, "127.0.0.1"))
        return True
