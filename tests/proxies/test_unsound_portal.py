"""A portal that breaks off, answers nonsense or is another program: every proxy refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.behaviour import FETCH
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import Proxy
from tests.proxies.registry import STARTERS
from tests.proxies.stub import Stub

pytestmark = pytest.mark.proxy

NAMED = b"X-Auth-Request-User: alice\r\n"
ANSWERS = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "a status line alone": b"HTTP/1.1 200 OK\r\n",
    "headers without an end": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + NAMED,
    "no HTTP": b"200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK 200\r\n\r\n",
    "100 and no more": b"HTTP/1.1 100 Continue\r\n" + NAMED + b"\r\n",
    "103 and no more": b"HTTP/1.1 103 Early Hints\r\n" + NAMED + b"\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n" + NAMED + b"\r\n",
    "404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n" + NAMED + b"\r\n",
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n" + NAMED + b"\r\n",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n" + NAMED + b"\r\n",
    "a status of nobody's": b"HTTP/1.1 799 Oh\r\nContent-Length: 0\r\n" + NAMED + b"\r\n",
    "half a refusal": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nNo",
    "a refusal with a header of 60 kB": b"HTTP/1.1 403 Forbidden\r\nX-A: " + b"x" * 60_000 + b"\r\n\r\n",
    "a redirect to nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module", params=list(STARTERS))
def beside(
    request: pytest.FixtureRequest, portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, Stub]]:
    """Return each proxy in front of a stub instead of the portal."""
    elsewhere = Portal(**vars(portal))
    elsewhere.port, elsewhere.plain_port = free_port(), free_port()
    with closing(Stub()) as stub:
        folder = tmp_path_factory.mktemp(f"stub-{request.param}")
        proxy = STARTERS[request.param](elsewhere, backend, folder, portal_at=stub.bind)
        yield proxy, stub
        proxy.server.stop()


@pytest.mark.parametrize("site", ["app", "wiki"])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_invalid_answer_lets_no_request_through(beside: tuple[Proxy, Stub], name: str, site: str) -> None:
    proxy, stub = beside
    stub.answer, stub.seconds_an_octet = ANSWERS[name], 0
    asked_before = len(stub.asked)

    reply = proxy.ask("/page", site=site, headers=FETCH, who="alice")

    assert len(stub.asked) > asked_before
    assert reply.status >= 300 or reply.status in (101, 103)  # interim answers, with nothing after them
    assert proxy.backend.take() == []


def test_a_valid_answer_lets_a_request_through(beside: tuple[Proxy, Stub]) -> None:
    """This shows that the rows above are refused for their content."""
    proxy, stub = beside
    stub.seconds_an_octet = 0
    stub.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + NAMED + b"\r\n"

    proxy.ask("/page", headers=FETCH)

    [received] = proxy.backend.take()
    assert received.all("X-Auth-Request-User") == ["alice"]


DRIPPED = {
    "a refusal": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n" + NAMED + b"\r\nNo",
    "a 401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n" + NAMED + b"\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + NAMED,
    "a name cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Auth-Request-User: ali",
    "a head that goes on and on": b"HTTP/1.1 200 OK\r\n" + NAMED + b"X-A: " + b"x" * 150,
    "half a page": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 99\r\n" + NAMED + b"\r\nNo",
}


@pytest.mark.parametrize("name", DRIPPED)
def test_a_slow_invalid_answer_lets_no_request_through(beside: tuple[Proxy, Stub], name: str) -> None:
    proxy, stub = beside
    stub.answer, stub.seconds_an_octet = DRIPPED[name], 0.002
    asked_before = len(stub.asked)

    reply = proxy.ask("/page", headers=FETCH | {"X-Auth-Request-User": "mallory"}, who="alice")

    assert len(stub.asked) > asked_before
    assert reply.status >= 300
    assert proxy.backend.take() == []


def test_a_slow_complete_answer_lets_its_user_through(beside: tuple[Proxy, Stub]) -> None:
    """This shows that the rows above are refused for their content, not for being slow."""
    proxy, stub = beside
    stub.answer, stub.seconds_an_octet = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + NAMED + b"\r\n", 0.002

    reply = proxy.ask("/page", headers=FETCH | {"X-Auth-Request-User": "mallory"})

    [received] = proxy.backend.take()
    assert reply.status == 200
    assert received.all("X-Auth-Request-User") == ["alice"]
