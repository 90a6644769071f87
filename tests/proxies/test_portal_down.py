"""A portal that is gone, or says nothing: every proxy refuses."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import Proxy
from tests.proxies.registry import STARTERS
from tests.proxies.wire import request_bytes

pytestmark = pytest.mark.proxy


@pytest.fixture
def elsewhere(portal: Portal) -> Portal:
    """The same portal, for a second set of proxies on ports of their own."""
    other = Portal(**vars(portal))
    other.port, other.plain_port = free_port(), free_port()
    return other


@pytest.fixture
def silent() -> Iterator[str]:
    """A portal that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("name", STARTERS)
def test_without_a_portal_nobody_gets_in(
    name: str, elsewhere: Portal, backend: Backend, tmp_path: Path
) -> None:
    proxy = STARTERS[name](elsewhere, backend, tmp_path, portal_at=f"127.0.0.1:{free_port()}")
    try:
        replies = [
            proxy.ask(path, who="alice", headers=NAVIGATION) for path in ("/", "/api/x", "/staff/", "/open")
        ]
        replies.append(proxy.ask("/authgate/userinfo", headers=FETCH))
    finally:
        proxy.server.stop()

    assert {reply.status for reply in replies} <= {500, 502, 503}
    assert backend.take() == []


def test_nginx_says_that_the_portal_is_down(elsewhere: Portal, backend: Backend, tmp_path: Path) -> None:
    proxy = STARTERS["nginx"](elsewhere, backend, tmp_path, portal_at=f"127.0.0.1:{free_port()}")
    try:
        reply = proxy.ask("/", headers=NAVIGATION)
    finally:
        proxy.server.stop()

    assert (reply.status, reply.header("Retry-After")) == (503, "5")
    assert b"try again" in reply.body


@pytest.mark.parametrize("name", STARTERS)
def test_with_a_silent_portal_nobody_gets_in(
    name: str, elsewhere: Portal, backend: Backend, silent: str, tmp_path: Path
) -> None:
    proxy = STARTERS[name](elsewhere, backend, tmp_path, portal_at=silent)
    try:
        status = _status_within(proxy, proxy.patience + 2 if proxy.patience else 3)
    finally:
        proxy.server.stop()

    assert status == (503 if proxy.patience else None)
    assert backend.take() == []


BROKEN = {
    "hangs up": b"",
    "half a line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nX-Auth-Request-User: mallory\r\nX-Auth",
    "no HTTP": b"\0\1X-Auth-Request-User: mallory\r\n\r\n",
    "go on": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Oh\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nX-Auth-Request-User: mallory\r\n\r\n",
    "an error": b"HTTP/1.1 500 Oh\r\nX-Auth-Request-User: mallory\r\nContent-Length: 0\r\n\r\n",
    "a status of nobody's": b"HTTP/1.1 799 Oh\r\nX-Auth-Request-User: mallory\r\nContent-Length: 0\r\n\r\n",
    "a head of 60 kB": b"HTTP/1.1 403 No\r\nX-A: " + b"x" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "half a refusal": b"HTTP/1.1 403 No\r\nContent-Length: 1000\r\n\r\nNo",
}


class BrokenPortal(socketserver.StreamRequestHandler):
    """Reads a check's head, answers as it is told, and hangs up."""

    def handle(self) -> None:
        while self.rfile.readline() not in (b"", b"\r\n"):
            pass
        assert isinstance(self.server, Broken)
        self.wfile.write(BROKEN[self.server.answer])


class Broken(socketserver.ThreadingTCPServer):
    daemon_threads = True
    answer = "hangs up"


@pytest.fixture(scope="module", params=STARTERS)
def misled(
    request: pytest.FixtureRequest, portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, Broken]]:
    """Each proxy in front of a portal that answers nonsense."""
    own = replace(portal, port=free_port(), plain_port=free_port())
    with Broken(("127.0.0.1", 0), BrokenPortal) as broken:
        threading.Thread(target=broken.serve_forever, daemon=True).start()
        bind = f"127.0.0.1:{broken.server_address[1]}"
        proxy = STARTERS[request.param](own, backend, tmp_path_factory.mktemp("misled"), portal_at=bind)
        yield proxy, broken
        proxy.server.stop()
        broken.shutdown()


@pytest.mark.parametrize("answer", BROKEN)
def test_with_a_portal_that_answers_nonsense_nobody_gets_in(
    misled: tuple[Proxy, Broken], answer: str
) -> None:
    proxy, broken = misled
    broken.answer = answer

    reply = proxy.send(
        request_bytes("GET", "/page", proxy.portal.host("app"), NAVIGATION),
        tls_name=proxy.portal.names["app"],
    )

    assert reply is None or reply.status >= 300 or reply.status == 101
    assert proxy.backend.take() == []


def _status_within(proxy: Proxy, seconds: float) -> int | None:
    """Give the answer's status; None while there is no answer (Traefik waits 30 s, then says 500)."""
    request = request_bytes(
        "GET", "/", proxy.portal.host("app"), [("Cookie", proxy.portal.cookie("alice", "app"))]
    )
    try:
        reply = proxy.send(request, tls_name=proxy.portal.names["app"], timeout=seconds)
    except TimeoutError:
        return None
    return reply.status if reply else None
