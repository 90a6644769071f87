"""A portal that is gone, or says nothing: every proxy refuses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
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


def _status_within(proxy: Proxy, seconds: float) -> int | None:
    """Return the answer's status, or None without an answer (Traefik waits 30 s, then returns 500)."""
    request = request_bytes(
        "GET", "/", proxy.portal.host("app"), [("Cookie", proxy.portal.cookie("alice", "app"))]
    )
    try:
        reply = proxy.send(request, tls_name=proxy.portal.names["app"], timeout=seconds)
    except TimeoutError:
        return None
    return reply.status if reply else None
