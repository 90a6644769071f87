"""Pages come from separate processes, which receive each request and send each answer unchanged."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connection

from authgate.models import AuditEvent
from authgate.peer import ABORT, SENT_TARGET
from ikd_portal import page_socket
from ikd_portal.asgi import PAGES_OF_A_NETWORK
from ikd_portal.page_processes import WHOLE, Forwarder
from ikd_portal.slow_clients import Message
from tests.front.serving import (
    Cast,
    Connection,
    Database,
    Portal,
    Reply,
    eventually,
    sign_in_bytes,
)
from tests.own_database import sign_ins_blocked

REQUESTS = {
    "a page": b"GET /accounts/login/?next=/a%20b HTTP/1.1\r\nHost: sso.example.com\r\n\r\n",
    "HEAD": b"HEAD /accounts/login/ HTTP/1.1\r\nHost: sso.example.com\r\n\r\n",
    "a large file": b"GET /static/admin/js/vendor/jquery/jquery.js HTTP/1.1\r\nHost: sso.example.com\r\n\r\n",
    "not modified": (
        b"GET /static/ikd.css HTTP/1.1\r\nHost: sso.example.com\r\n"
        b"If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n"
    ),
    "another host": b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
    "absolute form": b"GET http://sso.example.com/nothing HTTP/1.1\r\nHost: sso.example.com\r\n\r\n",
    "other bytes": b"GET /%ff?\xc3\xa9=%zz HTTP/1.1\r\nHost: sso.example.com\r\n\r\n",
    "an endpoint": (
        b"GET /authgate/start?rd=/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n"
        b"Sec-Fetch-Mode: cors\r\nX-Forwarded-Host: wiki.example.com\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    ),
    "an endpoint's header twice": (
        b"GET /authgate/start HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: wiki.example.com\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    ),
    "a method of its own": b"PROPFIND / HTTP/1.1\r\nHost: sso.example.com\r\n\r\n",
    "an upgrade": (
        b"GET /nothing HTTP/1.1\r\nHost: sso.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ),
}
READY = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
BY_CHANCE = ("date", "set-cookie", "expires", "x-auth-decision")


@pytest.fixture(scope="module")
def alone(database: Database, people: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with one process for pages and checks."""
    portal = Portal(tmp_path_factory.mktemp("alone"), database, IKD_PAGE_WORKERS="0").start()
    yield portal
    portal.stop()


def answer_of(portal: Portal, octets: bytes) -> Reply:
    with portal.connect() as connection:
        connection.send(octets)
        return connection.reply(is_head=octets.startswith(b"HEAD"))


def constant_parts(reply: Reply) -> tuple[int, list[tuple[str, str]], int]:
    """Return the constant parts of an answer. Forms contain a token, so of bodies only the length is."""
    headers = [
        (name, "; ".join(sorted(value.split("; ")))) for name, value in reply.headers if name not in BY_CHANCE
    ]
    return reply.status, sorted(headers), len(reply.body)


@pytest.mark.parametrize("kind", REQUESTS)
def test_an_answer_from_a_separate_process_is_the_same(kind: str, portal: Portal, alone: Portal) -> None:
    here, there = answer_of(alone, REQUESTS[kind]), answer_of(portal, REQUESTS[kind])

    assert constant_parts(there) == constant_parts(here)


def test_a_separate_process_answers_pages(portal: Portal, alone: Portal) -> None:
    assert len(portal.page_workers()) == 1
    assert alone.page_workers() == []


def test_a_body_arrives_whole(portal: Portal) -> None:
    reply = answer_of(portal, sign_in_bytes(b"x" * 300_000))

    assert reply.status == 200


def test_a_page_knows_the_clients_address(portal: Portal) -> None:
    octets = sign_in_bytes(b"alice").replace(b"Cookie:", b"X-Forwarded-For: 192.0.2.77\r\nCookie:")

    answer_of(portal, octets)

    assert eventually(lambda: AuditEvent.objects.filter(address="192.0.2.77").exists())


@pytest.fixture
def mistrustful(database: Database, people: Cast, tmp_path: Path) -> Iterator[Portal]:
    """A portal that trusts no proxy at the tests' address."""
    portal = Portal(tmp_path, database, IKD_TRUSTED_PROXIES="198.51.100.9").start()
    yield portal
    portal.stop()


@pytest.mark.parametrize("told", ["", "X-Ikd-Peer: 198.51.100.9 1\r\n", "X-Ikd-Peer: \r\n"])
def test_a_client_cannot_choose_its_own_address(told: str, mistrustful: Portal) -> None:
    octets = REQUESTS["an endpoint"].replace(b"Host: a\r\n", b"Host: a\r\n" + told.encode())

    assert answer_of(mistrustful, octets).status == 403


def test_checks_go_on_while_a_page_process_is_replaced(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    portal = Portal(tmp_path, database).start()
    portal.ask(people.alice_cookie)
    (before,) = portal.page_workers()

    os.kill(before, signal.SIGKILL)
    checks = [portal.ask(people.alice_cookie).status for _ in range(50)]
    page = answer_of(portal, REQUESTS["a page"]).status
    after = portal.page_workers()
    portal.stop()

    assert checks == [200] * 50
    assert page == 200
    assert len(after) == 1 and after != [before]


def test_if_a_page_process_dies_its_request_is_still_answered(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    portal = Portal(tmp_path, database).start()
    (pages,) = portal.page_workers()
    with sign_ins_blocked(database.url), portal.connect() as asks:
        asks.send(sign_in_bytes(b"nobody"))
        time.sleep(0.5)
        os.kill(pages, signal.SIGKILL)
        reply = asks.reply()
    portal.stop()

    assert reply.status == 503
    assert b"Try again" in reply.body


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b"", [503]),
        (b"a" * 1_000, [503]),
        (b"a" * (WHOLE + 1), [200, "aborted"]),
    ],
    ids=["only the head", "a part of a small page", "a part of a large page"],
)
def test_an_incomplete_answer_never_looks_complete(
    body: bytes, sent: list[int | str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a small page is cut off, it becomes a 503, and the proxies ask another portal."""
    monkeypatch.setenv(page_socket.VARIABLE, "")
    listening, folder = page_socket.open_or_inherit(tmp_path)
    told: list[int | str] = []

    async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    async def run() -> None:
        async with await asyncio.start_unix_server(half_an_answer, sock=socket.socket(fileno=listening)):
            state = {ABORT: lambda: told.append("aborted"), SENT_TARGET: b"/"}
            scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "client": ("192.0.2.1", 1)}
            await Forwarder(folder)({**scope, "state": state}, receive, send)

    asyncio.run(run())
    os.close(folder)

    assert told == sent


def test_a_waiting_request_survives_the_end_of_a_page_process(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    portal = Portal(tmp_path, database).start()
    (pages,) = portal.page_workers()
    os.kill(pages, signal.SIGSTOP)
    with portal.connect() as connection:
        connection.send(REQUESTS["a page"])
        time.sleep(0.3)
        os.kill(pages, signal.SIGKILL)
        reply = connection.reply()
    portal.stop()

    assert reply.status == 200


def test_a_reload_loses_no_page(database: Database, people: Cast, tmp_path: Path) -> None:
    portal = Portal(tmp_path, database).start()
    (before,) = portal.page_workers()
    statuses: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            with portal.connect() as connection:
                connection.send(REQUESTS["a page"].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                statuses.append(connection.reply().status)

    asking = threading.Thread(target=ask)
    asking.start()
    portal.reload()
    replaced = eventually(lambda: before not in portal.page_workers() and len(portal.page_workers()) == 1)
    time.sleep(0.3)
    ended.set()
    asking.join(10)
    portal.stop()

    assert replaced
    assert set(statuses) == {200}


def test_only_the_owner_can_use_the_socket_and_it_is_removed_with_the_portal(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    (tmp_path / "pages-abandoned").mkdir()
    portal = Portal(tmp_path, database).start()

    folders = sorted(tmp_path.glob("pages-*"))
    modes = [stat.S_IMODE(folder.stat().st_mode) for folder in folders if (folder / "socket").exists()]
    portal.stop()

    assert modes == [0o700]
    assert [folder for folder in tmp_path.glob("pages-*") if (folder / "socket").exists()] == []


def test_health_needs_no_page_process(database: Database, people: Cast, tmp_path: Path) -> None:
    portal = Portal(tmp_path, database).start()
    (pages,) = portal.page_workers()
    os.kill(pages, signal.SIGSTOP)
    with Connection(portal.address, timeout=5) as connection:
        status = connection.get("/healthz").status
    os.kill(pages, signal.SIGCONT)
    portal.stop()

    assert status == 200


def test_readiness_includes_the_process_that_answers_checks(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    """The page process can read the database. Only the feed of the checking process is stopped."""
    portal = Portal(tmp_path, database).start()
    before = answer_of(portal, READY).status
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE authgate_change RENAME TO gone")
    try:
        told = eventually(lambda: answer_of(portal, READY).status == 503)
        page = answer_of(portal, REQUESTS["a page"]).status
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE gone RENAME TO authgate_change")
        portal.stop()

    assert (before, told, page) == (200, True, 200)


def test_each_network_has_a_limited_share_of_requests_in_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page processes answer nothing here, so all requests stay in progress."""
    monkeypatch.setenv(page_socket.VARIABLE, "")
    listening, folder = page_socket.open_or_inherit(tmp_path)
    statuses: dict[str, list[int]] = {"192.0.2.1": [], "192.0.2.2": []}

    async def ask(forwarder: Forwarder, client: str) -> None:
        async def receive() -> Message:
            raise AssertionError

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses[client].append(message["status"])

        state = {ABORT: lambda: None, SENT_TARGET: b"/"}
        scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "client": (client, 1)}
        await forwarder({**scope, "state": state}, receive, send)

    async def run() -> None:
        forwarder = Forwarder(folder)
        forwarder._limit = 8
        asked = [
            asyncio.ensure_future(ask(forwarder, client)) for client in ["192.0.2.1"] * 5 + ["192.0.2.2"] * 2
        ]
        await asyncio.wait(asked, timeout=0.5)
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(run())
    for number in (listening, folder):
        os.close(number)

    assert statuses == {"192.0.2.1": [503] * 3, "192.0.2.2": []}


def test_a_flood_of_pages_from_one_network_gets_503(portal: Portal) -> None:
    """More requests wait than one network may have in the queue. Another network gets its turn among them."""
    for pid in portal.page_workers():
        os.kill(pid, signal.SIGSTOP)
    with ExitStack() as open_ones:
        flood = [open_ones.enter_context(portal.connect()) for _ in range(2 * PAGES_OF_A_NETWORK + 100)]
        other = open_ones.enter_context(portal.connect())
        for connection_of_one in flood:
            connection_of_one.send(page_for("192.0.2.1"))
        other.send(page_for("192.0.2.2"))
        time.sleep(0.5)
        for pid in portal.page_workers():
            os.kill(pid, signal.SIGCONT)
        honest = other.reply()
        replies = [each.reply() for each in flood]

    assert honest.status == 200
    assert {reply.status for reply in replies} == {200, 503}
    assert all(reply.header("retry-after") for reply in replies if reply.status == 503)


def page_for(client: str) -> bytes:
    head = f"GET /accounts/login/ HTTP/1.1\r\nHost: sso.example.com\r\nX-Forwarded-For: {client}"
    return f"{head}\r\n\r\n".encode()


@pytest.mark.parametrize("told", ["99:98", "0:0", "x", "1"])
def test_a_variable_without_a_valid_socket_is_ignored(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(page_socket.VARIABLE, told)

    listening, folder = page_socket.open_or_inherit(tmp_path)

    assert page_socket.open_or_inherit(tmp_path) == (listening, folder)
    assert [each.name[:6] for each in tmp_path.iterdir()] == ["pages-"]
    page_socket.remove()
    assert list(tmp_path.iterdir()) == []
    for number in (listening, folder):
        os.close(number)
