"""The portal is down or silent: every proxy refuses."""

from __future__ import annotations

import socket
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend, Received
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import StartProxy
from tests.proxies.registry import STARTERS
from tests.proxies.wire import conversations, exchange, request_bytes

pytestmark = pytest.mark.proxy


def on_other_ports(portal: Portal) -> Portal:
    """Return the same portal for a second set of proxies, which use other ports."""
    other = Portal(**vars(portal))
    other.port, other.plain_port = free_port(), free_port()
    return other


@pytest.fixture
def elsewhere(portal: Portal) -> Portal:
    return on_other_ports(portal)


@pytest.mark.parametrize("name", STARTERS)
def test_without_a_portal_requests_are_refused(
    name: str, elsewhere: Portal, backend: Backend, tmp_path: Path
) -> None:
    """All are asked at once, because HAProxy tries to connect for three seconds."""
    proxy = STARTERS[name](elsewhere, backend, tmp_path, portal_at=f"127.0.0.1:{free_port()}")
    cookie = {"Cookie": elsewhere.cookie("alice", "app")}
    asked = [(path, NAVIGATION | cookie) for path in ("/", "/api/x", "/staff/", "/open")]
    asked.append(("/authgate/userinfo", FETCH))
    requests = [request_bytes("GET", path, elsewhere.host("app"), headers) for path, headers in asked]
    backend.take()
    try:
        heard = conversations(proxy.address, requests, tls_name=elsewhere.names["app"])
    finally:
        proxy.server.stop()

    assert {int(each.split(b" ")[1]) for each in heard} <= {500, 502, 503}
    assert backend.take() == []


def test_nginx_shows_that_the_portal_is_down(elsewhere: Portal, backend: Backend, tmp_path: Path) -> None:
    proxy = STARTERS["nginx"](elsewhere, backend, tmp_path, portal_at=f"127.0.0.1:{free_port()}")
    try:
        reply = proxy.ask("/", headers=NAVIGATION)
    finally:
        proxy.server.stop()

    assert (reply.status, reply.header("Retry-After")) == (503, "5")
    assert b"try again" in reply.body


@dataclass(frozen=True)
class Silence:
    """The result of a page behind each proxy with a portal that accepts connections and never answers.

    Each proxy's patience and status are found by its name. The status is None without an answer.
    """

    answers: dict[str, Future[tuple[float, int | None]]]
    received: list[Received]


@pytest.fixture(scope="module")
def silence(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Silence:
    """Let all proxies wait at the same time."""
    backend.take()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent, ThreadPoolExecutor() as threads:
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        answers = {
            name: threads.submit(
                _answer_behind, start, on_other_ports(portal), backend, tmp_path_factory.mktemp(name), at
            )
            for name, start in STARTERS.items()
        }
        wait(answers.values())
    return Silence(answers, backend.take())


@pytest.mark.xdist_group("proxies before a silent portal")
@pytest.mark.parametrize("name", STARTERS)
def test_with_a_silent_portal_requests_are_refused(name: str, silence: Silence) -> None:
    patience, status = silence.answers[name].result()

    assert status == (503 if patience else None)
    assert silence.received == []


def _answer_behind(
    start: StartProxy, portal: Portal, backend: Backend, folder: Path, portal_at: str
) -> tuple[float, int | None]:
    """Wait longer than the proxy does. Traefik waits 30 s, and then returns 500."""
    proxy = start(portal, backend, folder, portal_at=portal_at)
    cookie = {"Cookie": portal.cookie("alice", "app")}
    request = request_bytes("GET", "/", portal.host("app"), cookie)
    seconds = proxy.patience + 2 if proxy.patience else 3
    try:
        reply = exchange(proxy.address, request, tls_name=portal.names["app"], timeout=seconds)
    except TimeoutError:
        return proxy.patience, None
    finally:
        proxy.server.stop()
    return proxy.patience, reply.status if reply else None
