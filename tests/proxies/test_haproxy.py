"""HAProxy only: WebSockets over HTTP/2, and our Lua action, which asks the portal."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import Proxy
from tests.proxies.registry import STARTERS
from tests.proxies.stub import Stub
from tests.proxies.test_http2 import ask
from tests.proxies.wire import connected, request_bytes

pytestmark = pytest.mark.proxy

WEBSOCKET = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/live/feed"),
    ("sec-websocket-version", "13"),
]


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("", 401)])
def test_a_websocket_over_http2_is_checked_too(haproxy: Proxy, who: str, status: int) -> None:
    haproxy.backend.take()
    cookie = [("cookie", haproxy.portal.cookie(who, "app"))] if who else []

    answer = ask(haproxy, [(":authority", haproxy.portal.host("app")), *WEBSOCKET, *cookie], wait=False)

    assert answer.status == status
    assert ["".join(each.all("X-Auth-Request-User")) for each in haproxy.backend.take()] == [who] * bool(who)


def test_each_request_on_a_connection_is_checked_separately(haproxy: Proxy) -> None:
    host, cookie = haproxy.portal.host("app"), haproxy.portal.cookie("alice", "app")
    heads = [
        ("/public/logo.png", ""),
        ("/page", ""),
        ("/page", f"Cookie: {cookie}\r\n"),
        ("/page", ""),
        ("/open/news", "Connection: close\r\n"),
    ]
    asked = "".join(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n" for path, more in heads)
    haproxy.backend.take()

    with closing(connected(haproxy.address, haproxy.portal.names["app"])) as connection:
        connection.sendall(asked.encode())
        told = b"".join(iter(lambda: connection.recv(65536), b""))

    assert re.findall(rb"HTTP/1.1 (\d+)", told) == [b"200", b"401", b"200", b"401", b"200"]
    names = ["".join(each.all("X-Auth-Request-User")) for each in haproxy.backend.take()]
    assert names == ["", "alice", ""]


TOKEN = f"ikd_{'a1B' * 16}c"


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {TOKEN}",
        f"bearer \t {TOKEN}",
        *(basic(name, TOKEN) for name in ("", "a", "al", "\xe9:ali")),
        basic("ali", TOKEN).replace("=", ""),
        basic("?>>?", TOKEN).replace("/", "_").replace("+", "-"),
    ],
)
def test_a_token_of_the_portal_does_not_reach_an_unchecked_application(haproxy: Proxy, value: str) -> None:
    haproxy.ask("/public/logo.png", headers={"Authorization": value})

    [received] = haproxy.backend.take()
    assert received.all("Authorization") == []


@pytest.mark.parametrize(
    "own",
    [basic("alice", "ikd"), basic("ikd_", "x"), "Bearer ikd-x", "Basic !", "Digest a=b", "x", TOKEN[4:]],
)
@pytest.mark.parametrize("path", ["/public/logo.png", "/page"])
def test_an_applications_own_authorization_arrives_unchanged(haproxy: Proxy, path: str, own: str) -> None:
    haproxy.ask(path, headers={"Authorization": own}, who="alice")

    [received] = haproxy.backend.take()
    assert received.all("Authorization") == [own]


@pytest.mark.parametrize("before", ["", "{portal}@"])
def test_a_request_line_with_another_host_does_not_change_the_host(haproxy: Proxy, before: str) -> None:
    host = haproxy.portal.host("app")
    target = f"https://{before.format(portal=haproxy.portal.host('portal'))}{host}/page?x=1"
    cookie = {"Cookie": haproxy.portal.cookie("alice", "app")}

    haproxy.send(request_bytes("GET", target, host, FETCH | cookie))

    [received] = haproxy.backend.take()
    assert received.request_line == "GET /page?x=1 HTTP/1.1"
    assert received.all("Host") == received.all("X-Forwarded-Host") == [host]


def test_connection_does_not_name_identity_headers(haproxy: Proxy) -> None:
    named = ("Connection", "close, X-Auth-Request-User, Cookie")

    haproxy.ask("/page", who="alice", headers=[*FETCH.items(), named])

    [received] = haproxy.backend.take()
    assert "x-auth-request-user" not in ",".join(received.all("Connection")).lower()


@pytest.mark.parametrize("upgrade", ["websocket, h2c", "h2c, websocket", "WebSocket"])
def test_only_websocket_handshakes_reach_the_application(haproxy: Proxy, upgrade: str) -> None:
    handshake = FETCH | {"Upgrade": upgrade, "Connection": "Upgrade, X-Auth-Request-User"}

    haproxy.ask("/page", who="alice", headers=handshake | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})

    [received] = haproxy.backend.take()
    assert received.all("Upgrade") == ["websocket"]
    assert [value.lower() for value in received.all("Connection")] == ["upgrade"]


NAMED = b"X-Auth-Request-User: alice\r\nContent-Length: 0\r\n\r\n"
ANSWERS = {
    "a credential": b"HTTP/1.1 200 OK\r\nX-Auth-Credential: portal\r\n" + NAMED,
    "another authorization": b"HTTP/1.1 200 OK\r\nAuthorization: Bearer b\r\n" + NAMED,
    "two cookies, two challenges": (
        b"HTTP/1.1 401 No\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nWWW-Authenticate: A\r\n"
        b"WWW-Authenticate: B realm=x, c\r\nX-Odd: ,, \r\nContent-Length: 2\r\n\r\nno"
    ),
    "chunks": b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    "a long page": b"HTTP/1.1 403 No\r\nContent-Length: 16384\r\n\r\n" + b"n" * 16_384,
    "too long a page": b"HTTP/1.1 403 No\r\nContent-Length: 16385\r\n\r\n" + b"n" * 16_385,
    "far too long a page": b"HTTP/1.1 403 No\r\nContent-Length: 200000000\r\n\r\n" + b"n" * 200_000_000,
    "200 without a user": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "200 with two users": (
        b"HTTP/1.1 200 OK\r\nX-Auth-Request-User: alice\r\nX-Auth-Request-User: mallory\r\n"
        b"Content-Length: 0\r\n\r\n"
    ),
    "200 with a page": b"HTTP/1.1 200 OK\r\nX-Auth-Request-User: alice\r\nContent-Length: 2\r\n\r\nhi",
    "204": b"HTTP/1.1 204 OK\r\nX-Auth-Request-User: alice\r\n\r\n",
    "200": b"HTTP/1.1 200 OK\r\n" + NAMED,
}


@pytest.fixture(scope="module")
def beside(
    portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, Stub]]:
    """Return HAProxy in front of a stub instead of the portal."""
    own = replace(portal, port=free_port(), plain_port=free_port())
    with closing(Stub()) as stub:
        proxy = STARTERS["haproxy"](own, backend, tmp_path_factory.mktemp("stub"), portal_at=stub.bind)
        yield proxy, stub
        proxy.server.stop()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("200", 200),
        ("204", 503),
        ("200 without a user", 503),
        ("200 with two users", 503),
        ("200 with a page", 503),
        ("a long page", 403),
        ("too long a page", 503),
        ("far too long a page", 503),
        ("chunks", 403),
    ],
)
def test_only_an_empty_200_with_a_user_lets_a_request_through(
    beside: tuple[Proxy, Stub], answer: str, status: int
) -> None:
    proxy, stub = beside
    stub.answer = ANSWERS[answer]

    reply = proxy.ask("/page", headers=NAVIGATION)

    assert reply.status == status
    assert len(proxy.backend.take()) == (status == 200)


def test_the_client_receives_the_whole_refusal(beside: tuple[Proxy, Stub]) -> None:
    proxy, stub = beside
    stub.answer = ANSWERS["two cookies, two challenges"]

    reply = proxy.ask("/page", headers=FETCH)

    assert (reply.status, reply.body) == (401, b"no")
    assert reply.all("Set-Cookie") == ["a=1", "b=2; Path=/"]
    assert reply.all("WWW-Authenticate") == ["A", "B realm=x, c"]


def test_an_answer_that_is_much_too_long_does_not_affect_later_ones(beside: tuple[Proxy, Stub]) -> None:
    proxy, stub = beside
    statuses = []

    for answer in ("far too long a page", "far too long a page", "200"):
        stub.answer = ANSWERS[answer]
        statuses.append(proxy.ask("/page", headers=NAVIGATION).status)

    assert statuses == [503, 503, 200]


def test_headers_missing_in_the_answer_are_not_taken_from_the_client(beside: tuple[Proxy, Stub]) -> None:
    proxy, stub = beside
    stub.answer = ANSWERS["200"]

    proxy.ask("/page", headers=[*FETCH.items(), ("X-Auth-Request-Groups", "ops"), ("X-Ikd-Jwt", "x")])

    [received] = proxy.backend.take()
    assert received.all("X-Auth-Request-User") == ["alice"]
    assert received.all("X-Auth-Request-Groups") == received.all("X-Ikd-Jwt") == []


@pytest.mark.parametrize(
    ("answer", "arrives"),
    [("200", ["Digest a"]), ("a credential", []), ("another authorization", ["Bearer b"])],
)
def test_the_answer_decides_whether_authorization_reaches_the_application(
    beside: tuple[Proxy, Stub], answer: str, arrives: list[str]
) -> None:
    proxy, stub = beside
    stub.answer = ANSWERS[answer]

    proxy.ask("/page", headers=FETCH | {"Authorization": "Digest a"})

    [received] = proxy.backend.take()
    assert received.all("Authorization") == arrives
