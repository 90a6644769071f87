"""Password hashes are computed in turn. Neither checks nor other pages wait for them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher, make_password

from accounts import password_hasher
from accounts.checks import check_argon2
from accounts.password_hasher import PasswordHasher
from authgate.pages.outage import Overloaded
from tests.front.serving import Cast, Connection, Database, Portal, eventually, sign_in_bytes

TOKEN = "the token of the tests"
PAGE = b"GET /accounts/login/ HTTP/1.1\r\nHost: sso.example.com\r\nConnection: close\r\n\r\n"
METRICS = (
    b"GET /metrics HTTP/1.1\r\nHost: sso.example.com\r\nAuthorization: Bearer the token of the tests\r\n\r\n"
)


@pytest.fixture
def hasher(settings: Any) -> PasswordHasher:
    settings.PASSWORD_HASHERS = ["accounts.password_hasher.PasswordHasher"]
    return PasswordHasher()


def test_the_right_password_matches_its_hash(hasher: PasswordHasher) -> None:
    encoded = make_password("correct horse")

    assert encoded.startswith("argon2$argon2id$v=19$m=102400,t=2,p=8$")
    assert check_password("correct horse", encoded)
    assert not check_password("wrong horse", encoded)


def test_a_hash_with_other_parameters_counts_and_is_renewed(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PasswordHasher, "memory_cost", 19_456)
    encoded = make_password("correct horse")
    monkeypatch.undo()

    assert check_password("correct horse", encoded)
    assert identify_hasher(encoded).must_update(encoded)


def test_hashes_are_computed_one_at_a_time_at_low_priority(hasher: PasswordHasher) -> None:
    seen: list[tuple[int, int]] = []

    def note() -> None:
        seen.append((threading.get_ident(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: password_hasher._hash_queue.run(note), range(8)))

    assert len(set(seen)) == 1
    assert seen[0][0] != threading.get_ident()
    assert seen[0][1] > os.getpriority(os.PRIO_PROCESS, 0)


def test_a_process_with_a_full_queue_computes_no_hash(hasher: PasswordHasher, settings: Any) -> None:
    settings.IKD_PASSWORD_QUEUE = 2
    may_end = threading.Event()

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(password_hasher._hash_queue.run, may_end.wait) for _ in range(3)]
        while password_hasher._hash_queue.count < 3:
            pass
        with pytest.raises(Overloaded):
            make_password("correct horse")
        may_end.set()
        assert [each.result() for each in waiting] == [True] * 3

    assert make_password("correct horse")


@pytest.mark.parametrize(
    ("name", "value"),
    [("IKD_ARGON2_TIME_COST", 1), ("IKD_ARGON2_MEMORY_COST", 8192), ("IKD_ARGON2_PARALLELISM", 0)],
)
def test_weak_parameters_are_refused(name: str, value: int, settings: Any) -> None:
    assert check_argon2() == []
    setattr(settings, name, value)

    (error,) = check_argon2()

    assert error.id == "accounts.E005" and name in error.msg


# ---- a server ---------------------------------------------------------------------------------------------


@pytest.fixture
def crowded(database: Database, people: Cast, tmp_path: Path) -> Iterator[Portal]:
    """A portal with a very short queue, and hashes at their usual cost."""
    limits = {"IKD_PASSWORD_QUEUE": "0", "IKD_LOGIN_LIMIT_PER_ADDRESS": "999/300"}
    limits |= {"IKD_ARGON2_MEMORY_COST": "102400", "IKD_ARGON2_PARALLELISM": "8"}
    portal = Portal(tmp_path, database, IKD_METRICS_TOKEN=TOKEN, **limits).start()
    yield portal
    portal.stop()


def sign_in(portal: Portal, number: int) -> tuple[int, str, bytes]:
    octets = sign_in_bytes(b"nobody%d" % number)
    with Connection(portal.address, timeout=60) as connection:
        connection.send(octets)
        reply = connection.reply()
    return reply.status, reply.header("retry-after"), reply.body


def test_many_simultaneous_sign_ins_delay_no_check_and_no_page(crowded: Portal, people: Cast) -> None:
    crowded.ask(people.alice_cookie)

    with ThreadPoolExecutor(32) as pool:
        signing_in = [pool.submit(sign_in, crowded, number) for number in range(32)]
        checks = [crowded.ask(people.alice_cookie).status for _ in range(100)]
        with Connection(crowded.address) as connection:
            connection.send(PAGE)
            page = connection.reply().status
        still_signing_in = sum(not each.done() for each in signing_in)
        replies = [each.result() for each in signing_in]

    assert checks == [200] * 100
    assert page == 200
    assert still_signing_in
    assert {reply[0] for reply in replies} == {200, 503}
    assert {reply[1] for reply in replies if reply[0] == 503} == {"5"}
    assert all(b"Many people are signing in" in reply[2] for reply in replies if reply[0] == 503)
    assert eventually(lambda: metric(crowded, "ikd_password_hashes_shed_total") > 0, 20)
    assert eventually(lambda: metric(crowded, "ikd_password_hashes_total") > 0, 20)
    assert metric(crowded, "ikd_password_hash_seconds_total") > 0
    assert metric(crowded, "ikd_connections") > 0


def metric(portal: Portal, name: str) -> float:
    """Return the sum of a metric over all processes."""
    with Connection(portal.address) as connection:
        connection.send(METRICS)
        told = connection.reply().body.decode()
    return sum(map(float, re.findall(rf"(?m)^{name} (\S+)$", told)))
