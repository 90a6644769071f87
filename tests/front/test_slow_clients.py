"""Clients that send or read slowly take no thread from other clients."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ikd_portal import slow_clients
from ikd_portal.slow_clients import Message
from tests.front.serving import WAITS_FOR_ITS_BODY, Connection, Portal, eventually, sign_in_bytes

THREADS = 8
"""The threads of a process with the default IKD_THREADS."""

LARGE_FILE = b"GET /static/admin/js/vendor/jquery/jquery.js HTTP/1.1\r\nHost: sso.example.com\r\n\r\n"
PAGE = b"GET /accounts/login/ HTTP/1.1\r\nHost: sso.example.com\r\n\r\n"


@pytest.fixture
def connections(portal: Portal) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(portal.connect()) for _ in range(THREADS + 1)]


def is_served(portal: Portal) -> bool:
    with portal.connect() as connection:
        connection.socket.settimeout(5)
        connection.send(PAGE)
        try:
            return connection.reply().status == 200
        except TimeoutError:
            return False


def test_a_missing_body_takes_no_thread(portal: Portal, connections: list[Connection]) -> None:
    for connection in connections:
        connection.send(WAITS_FOR_ITS_BODY + b"Content-Length: 99\r\n\r\na")
    time.sleep(0.3)

    assert is_served(portal)

    connections[0].send(b"=" + b"b" * 97)
    assert connections[0].reply().status == 403


def test_an_endless_body_takes_no_thread(portal: Portal, connections: list[Connection]) -> None:
    for connection in connections:
        connection.send(WAITS_FOR_ITS_BODY + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    time.sleep(0.3)

    assert is_served(portal)


def test_unread_answers_take_no_thread(portal: Portal) -> None:
    with ExitStack() as stack:
        for _ in range(THREADS + 1):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(portal.address)
            reader.sendall(LARGE_FILE * 20)
        time.sleep(1)

        assert is_served(portal)


def test_a_body_in_pieces_arrives_whole(portal: Portal) -> None:
    """A form of several hundred kilobytes goes into a file. Without its last field, it would get 403."""
    octets = sign_in_bytes(b"x" * 400_000)
    with portal.connect() as connection:
        for start in range(0, len(octets), 100_000):
            connection.send(octets[start : start + 100_000])
            time.sleep(0.02)
        reply = connection.reply()

    assert reply.status == 200


@pytest.mark.parametrize("length", [b"10485761", b"999999999999"])
def test_a_body_announced_as_too_large_is_refused_at_once(portal: Portal, length: bytes) -> None:
    with portal.connect() as connection:
        connection.send(WAITS_FOR_ITS_BODY + b"Content-Length: " + length + b"\r\n\r\n")
        reply = connection.reply()

        assert reply.status == 413
        assert b"10 MB" in reply.body
        assert connection.is_closed(5)


def test_a_body_that_grows_too_large_is_refused(portal: Portal) -> None:
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    with portal.connect() as connection:
        connection.send(WAITS_FOR_ITS_BODY + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(170):
                connection.send(chunk)
        except OSError:
            return  # closed before all bytes were sent
        assert connection.reply().status == 413


def test_a_client_that_disconnects_in_its_body_leaves_nothing_behind(portal: Portal) -> None:
    before = portal.log.stat().st_size
    for _ in range(20):
        with portal.connect() as connection:
            connection.send(WAITS_FOR_ITS_BODY + b"Content-Length: 99\r\n\r\na")

    assert is_served(portal)
    assert eventually(lambda: open_files(portal) < 60, 5)
    assert portal.log.stat().st_size == before


def test_a_slow_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "BODY_WITHIN", 0.05)
    begun = [{"type": "http.request", "body": b"a", "more_body": True}]

    async def receive() -> Message:
        if begun:
            return begun.pop()
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(slow_clients.RefusedRequest) as refused:
        asyncio.run(slow_clients.body_of([(b"content-length", b"9")], receive))

    assert refused.value.status == 408


def test_each_refusal_is_a_new_exception() -> None:
    """An exception object that is raised repeatedly keeps all its frames, and the bodies in them."""

    async def receive() -> Message:
        raise AssertionError

    refused = []
    for _ in range(3):
        with pytest.raises(slow_clients.RefusedRequest) as each:
            asyncio.run(slow_clients.body_of([(b"content-length", b"99999999")], receive))
        refused.append(each.value)

    assert len({id(each) for each in refused}) == 3


def test_a_client_that_reads_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "READ_WITHIN", 0.05)
    ended = []

    async def send(message: Message) -> None:
        await asyncio.Event().wait()

    asyncio.run(slow_clients.read_in_time(send, lambda: ended.append(True))({"type": "http.response.body"}))

    assert ended == [True]


def open_files(portal: Portal) -> int:
    return max(len(list(Path(f"/proc/{worker}/fd").iterdir())) for worker in portal.workers())
