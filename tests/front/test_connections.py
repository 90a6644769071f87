"""Connections to a real server: order, keep-alive, back-pressure, shutdown, reload and Unix sockets."""

from __future__ import annotations

import os
import random
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.front.serving import (
    PUBLIC,
    WAITS_FOR_ITS_BODY,
    Cast,
    Connection,
    Database,
    Portal,
    check_bytes,
    eventually,
    signed_in,
)

PAGE = b"GET /healthz HTTP/1.1\r\nHost: sso.example.com\r\n\r\n"


@pytest.fixture
def connection(portal: Portal, people: Cast) -> Iterator[Connection]:
    """A connection to a server with alice, bob and an unknown session in memory."""
    for cookie in (people.alice_cookie, people.bob_cookie, ""):
        portal.ask(cookie)
    with portal.connect() as connection:
        yield connection


def kinds(people: Cast) -> dict[str, tuple[bytes, int]]:
    """Return requests of every kind on one connection, each with the status of its answer."""
    alice, bob = people.alice_cookie, people.bob_cookie
    return {
        "allowed": (check_bytes(alice), 200),
        "refused": (check_bytes(bob), 403),
        "anonymous": (check_bytes(), 401),
        "public": (check_bytes(origin=PUBLIC), 200),
        "redirected": (check_bytes(check="/authgate/traefik", Sec_Fetch_Mode="navigate"), 302),
        "unknown cookie": (check_bytes("__Host-ikd_gate=nobody"), 401),
        "unknown origin": (check_bytes(origin="https://nobody.example.com"), 403),
        "HEAD": (check_bytes(bob, method="HEAD"), 403),
        "POST without a body": (check_bytes(alice, method="POST", Content_Length="0"), 200),
        "with a body": (check_bytes(alice, method="POST", Content_Length="5", body=b"GET /"), 200),
        "chunked": (
            check_bytes(bob, method="POST", Transfer_Encoding="chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
            403,
        ),
        "expecting": (
            check_bytes(alice, method="PUT", Expect="100-continue", Content_Length="2", body=b"xy"),
            200,
        ),
        "a header twice": (
            check_bytes(alice).replace(b"Host: portal", b"Host: portal\r\nX-A: 1\r\nX-A: 2"),
            200,
        ),
        "the contract's header twice": (
            check_bytes(alice).replace(b"Host: portal", b"Host: portal\r\nX-Forwarded-Uri: /"),
            403,
        ),
        "a page": (PAGE, 200),
        "a page that is none": (b"GET /nothing HTTP/1.1\r\nHost: other.example.com\r\n\r\n", 404),
        "a page with a body": (WAITS_FOR_ITS_BODY + b"Content-Length: 3\r\n\r\na=b", 403),
    }


@pytest.mark.parametrize("seed", range(12))
def test_mixed_requests_are_answered_in_order(seed: int, connection: Connection, people: Cast) -> None:
    chance = random.Random(seed)
    requests = kinds(people)
    asked = [chance.choice(list(requests)) for _ in range(40)]
    octets = b"".join(requests[kind][0] for kind in asked)
    answered = []

    def send() -> None:
        rest = octets
        while rest:
            length = chance.choice([1, 1, 2, 7, 60, 300, 2000, 9000])
            connection.send(rest[:length])
            rest = rest[length:]
            time.sleep(chance.choice([0, 0, 0.001]))

    sender = threading.Thread(target=send)
    sender.start()
    for kind in asked:
        reply = connection.reply(is_head=kind == "HEAD")
        answered.append((kind, reply.status, reply.header("x-auth-request-user")))
    sender.join()

    signed_in = {"allowed", "POST without a body", "with a body", "expecting", "a header twice"}
    assert answered == [(kind, requests[kind][1], "alice" if kind in signed_in else "") for kind in asked]


def test_a_check_sent_byte_by_byte_is_answered(connection: Connection, people: Cast) -> None:
    for octet in check_bytes(people.alice_cookie) * 2:
        connection.send(bytes((octet,)))

    assert [connection.reply().status for _ in range(2)] == [200, 200]


def test_a_check_waits_for_the_answer_to_the_page_before_it(connection: Connection, people: Cast) -> None:
    connection.send(
        WAITS_FOR_ITS_BODY + b"Content-Length: 3\r\n\r\na=b" + check_bytes(people.alice_cookie) * 3 + PAGE
    )

    replies = [connection.reply() for _ in range(5)]

    assert [reply.status for reply in replies] == [403, 200, 200, 200, 200]
    assert [reply.header("x-auth-request-user") for reply in replies] == ["", "alice", "alice", "alice", ""]


def test_an_upgrade_is_answered_as_an_ordinary_request(connection: Connection, people: Cast) -> None:
    upgraded = connection.check(people.alice_cookie, Connection="Upgrade", Upgrade="websocket")
    after = connection.check(people.bob_cookie)

    assert (upgraded.status, after.status) == (200, 403)


@pytest.mark.parametrize(
    "more", [{"version": "1.0"}, {"Connection": "close"}, {"version": "1.0", "Connection": "keep-alive"}]
)
def test_a_client_without_keep_alive_is_answered_and_disconnected(
    more: dict[str, str], connection: Connection, people: Cast
) -> None:
    assert connection.check(people.alice_cookie, **more).status == 200
    assert connection.is_closed(2)


@pytest.mark.parametrize(
    "octets",
    [
        b"GET /authgate/nginx HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /authgate/nginx HTTP/1.1\r\nHo st: a\r\n\r\n",
        b"GET /authgate/nginx\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["two lengths", "length and chunked", "space in a name", "NUL in the path", "TLS"],
)
def test_an_invalid_request_gets_400_after_earlier_answers(
    octets: bytes, connection: Connection, people: Cast
) -> None:
    connection.send(check_bytes(people.alice_cookie) + octets + check_bytes(people.alice_cookie))

    assert [connection.reply().status, connection.reply().status] == [200, 400]
    assert connection.is_closed(2)


def test_a_check_hidden_in_a_body_is_never_answered(connection: Connection, people: Cast) -> None:
    hidden = check_bytes(people.alice_cookie)
    connection.send(WAITS_FOR_ITS_BODY + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden + PAGE)

    assert [connection.reply().status, connection.reply().body] == [403, b"ok\n"]
    assert connection.says_nothing(0.2)


def test_answers_for_a_client_that_never_reads_are_bounded(portal: Portal, people: Cast) -> None:
    portal.ask(people.alice_cookie)
    with portal.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.socket.settimeout(1)
        sent, octets = 0, check_bytes(people.alice_cookie) * 50
        before = resident(portal)
        with pytest.raises(TimeoutError):
            while sent < 200_000_000:
                sent += connection.socket.send(octets)

        assert resident(portal) - before < 20_000_000
        assert portal.ask(people.alice_cookie).status == 200


def test_a_client_that_reads_late_gets_every_answer(portal: Portal, people: Cast) -> None:
    portal.ask(people.alice_cookie)
    with portal.connect() as connection:
        count = 20_000
        sender = threading.Thread(target=connection.send, args=(check_bytes(people.alice_cookie) * count,))
        sender.start()
        time.sleep(0.5)
        statuses = [connection.reply().status for _ in range(count)]
        sender.join()

    assert statuses == [200] * count


def resident(portal: Portal) -> int:
    """Return the resident memory of the only worker, in bytes."""
    (worker,) = portal.workers()
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- keep-alive -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty(database: Database, people: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A server on a Unix socket that closes idle connections after a second."""
    folder = tmp_path_factory.mktemp("hasty")
    portal = Portal(folder, database, IKD_BIND=f"unix:{folder}/s").start("--keep-alive", "1")
    portal.ask(people.alice_cookie)
    yield portal
    portal.stop()


def test_an_idle_connection_is_closed_after_the_configured_time(hasty: Portal, people: Cast) -> None:
    with hasty.connect() as connection:
        connection.check(people.alice_cookie)
        began = time.monotonic()

        assert connection.is_closed(4)
        assert 0.9 < time.monotonic() - began < 2.5


def test_an_idle_connection_is_closed_even_if_its_check_waited_for_the_database(
    hasty: Portal, people: Cast
) -> None:
    with hasty.connect() as connection:
        assert connection.check(signed_in(people.alice)).status == 200
        began = time.monotonic()

        assert connection.is_closed(4)
        assert 0.9 < time.monotonic() - began < 2.5


def test_a_connection_that_is_used_stays_open(hasty: Portal, people: Cast) -> None:
    with hasty.connect() as connection:
        for number in range(8):
            time.sleep(0.4)
            reply = connection.check(people.alice_cookie) if number % 3 else connection.get("/healthz")
            assert reply.status == 200


def test_the_keep_alive_timer_does_not_end_a_request_in_progress(hasty: Portal, people: Cast) -> None:
    with hasty.connect() as connection:
        connection.send(
            check_bytes(people.alice_cookie) * 2 + WAITS_FOR_ITS_BODY + b"Content-Length: 3\r\n\r\na"
        )
        statuses = [connection.reply().status, connection.reply().status]
        time.sleep(3.2)
        connection.send(b"=b")

        assert [*statuses, connection.reply().status] == [200, 200, 403]


def test_the_keep_alive_timer_does_not_end_a_half_sent_head(hasty: Portal, people: Cast) -> None:
    octets = check_bytes(people.alice_cookie)
    with hasty.connect() as connection:
        connection.send(octets + octets[:40])
        first = connection.reply().status
        time.sleep(2.5)
        connection.send(octets[40:])

        assert (first, connection.reply().status) == (200, 200)


def test_a_unix_socket_is_open_to_owner_and_group_and_has_trusted_peers(hasty: Portal, people: Cast) -> None:
    assert isinstance(hasty.address, str)
    mode = stat.S_IMODE(Path(hasty.address).stat().st_mode)

    assert oct(mode) == "0o660"
    assert hasty.ask(people.alice_cookie).header("x-auth-request-user") == "alice"


# ---- shutdown and reload ----------------------------------------------------------------------------------


def test_a_graceful_end_answers_requests_in_progress_and_accepts_no_more(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    portal = Portal(tmp_path, database).start()
    assert portal.process is not None
    with portal.connect() as busy, portal.connect() as idle:
        idle.check(people.alice_cookie)
        busy.send(WAITS_FOR_ITS_BODY + b"Content-Length: 3\r\n\r\na")
        time.sleep(0.3)
        portal.process.terminate()
        is_closed = idle.is_closed(5)
        busy.send(b"=b")

        assert busy.reply().status == 403
        assert is_closed
        assert portal.process.wait(10) == 0


def test_at_shutdown_a_persistent_connection_gets_connection_close(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    portal = Portal(tmp_path, database).start()
    assert portal.process is not None
    replies = []
    with portal.connect() as kept:
        replies.append(kept.check(people.alice_cookie))
        portal.process.terminate()
        while replies[-1].header("connection") != "close":
            replies.append(kept.check(people.alice_cookie))
            time.sleep(0.01)
        is_closed = kept.is_closed(5)
    portal.stop()

    assert {reply.status for reply in replies} == {200}
    assert is_closed


def test_a_reload_loses_no_request(database: Database, people: Cast, tmp_path: Path) -> None:
    portal = Portal(tmp_path, database, workers=2).start()
    before = set(portal.workers())
    statuses: list[int] = []
    unanswered: list[Exception] = []
    ended = threading.Event()

    def ask() -> None:
        """Send a request as proxies do: once more if a persistent connection closed before any answer."""
        connection = portal.connect()
        while not ended.is_set():
            for attempt in range(2):
                try:
                    statuses.append(connection.check(people.alice_cookie).status)
                    break
                except OSError as error:
                    connection.socket.close()
                    connection = portal.connect()
                    if attempt:
                        unanswered.append(error)
        connection.socket.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    portal.reload()
    replaced = eventually(lambda: len(portal.workers()) == 2 and not before & set(portal.workers()))
    time.sleep(0.5)
    ended.set()
    for thread in threads:
        thread.join(10)
    portal.stop()

    assert replaced
    assert unanswered == []
    assert set(statuses) == {200}


SLOW_SETTINGS = """
import pathlib, time
from ikd_portal.settings import *
time.sleep(float(pathlib.Path({seconds!r}).read_text()))
"""
STARTS_FOR = 5.0
LOGIN = b"GET /accounts/login/ HTTP/1.1\r\nHost: sso.example.com\r\nX-Forwarded-Proto: https\r\n\r\n"


def test_no_request_waits_for_the_new_processes_of_a_reload(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    """The new processes take seconds to start. Until then, the old ones answer checks and pages."""
    seconds = tmp_path / "seconds"
    seconds.write_text("0")
    (tmp_path / "slow_settings.py").write_text(SLOW_SETTINGS.format(seconds=str(seconds)))
    settings = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "slow_settings"}
    portal = Portal(tmp_path, database, **settings).start()
    before = {*portal.workers(), *portal.page_workers()}
    seconds.write_text(str(STARTS_FOR))
    waits, statuses = [], []

    def is_replaced() -> bool:
        for request in (check_bytes(people.alice_cookie), LOGIN):
            asked = time.monotonic()
            with portal.connect() as connection:
                connection.send(request)
                statuses.append(connection.reply().status)
            waits.append(time.monotonic() - asked)
        return not before & {*portal.workers(), *portal.page_workers()}

    portal.reload()
    has_ended = eventually(is_replaced, 60)
    portal.stop()

    assert has_ended
    assert set(statuses) == {200}
    assert max(waits) < STARTS_FOR
