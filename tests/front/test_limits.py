"""Limits of a connection: large heads, slow heads, and too many connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from authgate.endpoints.connections import CONNECTIONS_PER_NETWORK, HEAD_WITHIN, LARGEST_HEAD, Connections
from tests.front.serving import Cast, Connection, Database, Portal, check_bytes
from tests.front.test_connections import resident

PAGE = b"GET /healthz HTTP/1.1\r\nHost: sso.example.com\r\n"


@pytest.fixture(scope="module")
def exposed(database: Database, people: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal that clients reach without a proxy."""
    portal = Portal(tmp_path_factory.mktemp("exposed"), database, IKD_TRUSTED_PROXIES="198.51.100.9").start()
    yield portal
    portal.stop()


@pytest.mark.parametrize(
    "filler", [b"X-A: " + b"a" * 9_000 + b"\r\n", b"a" * 9_000], ids=["lines", "one line"]
)
def test_an_endless_head_is_refused(filler: bytes, portal: Portal) -> None:
    before = resident(portal)
    with portal.connect() as connection:
        connection.send(PAGE + b"X-B: ")
        try:
            for _ in range(20_000):
                connection.send(filler)
        except OSError:
            pass
        else:
            pytest.fail("180 MB were taken")

    assert resident(portal) - before < 20_000_000


def test_a_client_with_a_large_head_gets_431(portal: Portal) -> None:
    with portal.connect() as connection:
        connection.send(PAGE + b"X-A: " + b"a" * (LARGEST_HEAD + 1))
        reply = connection.reply()

        assert reply.status == 431
        assert reply.body == b"The head of the request is too large.\n"
        assert connection.is_closed(5)


@pytest.mark.parametrize("path", ["/healthz", "/accounts/login/"])
def test_a_head_below_the_limit_is_accepted(path: str, portal: Portal) -> None:
    with portal.connect() as connection:
        connection.send(PAGE.replace(b"/healthz", path.encode()) + b"X-A: " + b"a" * 60_000 + b"\r\n\r\n")

        assert connection.reply().status == 200


def test_many_requests_in_one_read_do_not_count_as_a_large_head(portal: Portal, people: Cast) -> None:
    octets = check_bytes(people.alice_cookie)
    portal.ask(people.alice_cookie)
    with portal.connect() as connection:
        connection.send(octets * 1_000)

        assert {connection.reply().status for _ in range(1_000)} == {200}


def test_a_connection_without_a_complete_head_is_closed(
    exposed: Portal, portal: Portal, people: Cast
) -> None:
    octets = check_bytes(people.alice_cookie)
    with ExitStack() as stack:
        half, nothing, slow, empty_lines = (stack.enter_context(exposed.connect()) for _ in range(4))
        trusted = stack.enter_context(portal.connect())
        trusted_half = stack.enter_context(portal.connect())
        for each in (half, slow, trusted_half):
            each.send(octets[:60])
        began = time.monotonic()
        while time.monotonic() - began < HEAD_WITHIN + 3:
            _send_a_little(slow, b"a")
            _send_a_little(empty_lines, b"\r\n")
            time.sleep(0.5)

        assert all(each.is_closed(1) for each in (half, nothing, slow, empty_lines, trusted_half))
        assert trusted.check(people.alice_cookie).status == 200


def _send_a_little(connection: Connection, octets: bytes) -> None:
    try:
        connection.send(octets)
    except OSError:
        return


def test_each_network_has_a_limited_number_of_connections(exposed: Portal) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(exposed.connect()) for _ in range(CONNECTIONS_PER_NETWORK + 12)]
        time.sleep(0.5)
        closed = [each.is_closed(0.01) for each in opened]

    assert closed == [False] * CONNECTIONS_PER_NETWORK + [True] * 12
    assert "too many are open" in exposed.log.read_text()
    with exposed.connect() as connection:
        assert connection.get("/healthz").status == 200


def test_a_trusted_proxy_has_no_limit_of_connections(portal: Portal, people: Cast) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(portal.connect()) for _ in range(CONNECTIONS_PER_NETWORK + 60)]

        assert {each.check(people.alice_cookie).status for each in opened} == {200}


def test_all_networks_together_have_a_limit() -> None:
    connections = Connections()
    connections.limit = 5

    admitted = [connections.admit(f"192.0.2.{number}") for number in range(7)]
    connections.leave("192.0.2.0")

    assert admitted == [True] * 5 + [False] * 2
    assert connections.admit("192.0.2.9")
    assert connections.refused == 2


def test_the_log_reports_refused_connections_once(exposed: Portal, tmp_path: Path) -> None:
    since = exposed.log.stat().st_size
    with ExitStack() as stack:
        for _ in range(CONNECTIONS_PER_NETWORK + 200):
            try:
                stack.enter_context(exposed.connect())
            except OSError:
                continue
        time.sleep(0.5)

    assert exposed.log.read_bytes()[since:].count(b"too many are open") <= 3
