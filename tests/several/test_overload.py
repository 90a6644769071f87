"""Two stub portals without room for strangers: 503 with Retry-After."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour import FETCH, PORTAL, SITES
from tests.front.serving import free_port
from tests.proxies.backend import Backend, Received
from tests.proxies.nginx import start_nginx
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.registry import STARTERS
from tests.proxies.stub import Stub
from tests.proxies.traefik import start_traefik
from tests.several.others import shipped_for

pytestmark = pytest.mark.proxy

ALICE = {"Cookie": "who=alice"}
LET_IN = b"HTTP/1.1 200 OK\r\nX-Auth-Request-User: alice\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
SHED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


FILES = {
    "nginx": "minimal.conf",
    "traefik": "several.yaml",
    "caddy": "minimal.Caddyfile",
    "haproxy": "minimal.cfg",
    "envoy": "minimal.yaml",
}


class BusyPortal(Stub):
    """A portal with room for alice only, or for no check. It may hang, or end before it answers."""

    has_room_for_alice = True
    hangs = ends = False

    def answer_to(self, asked: Received) -> bytes:
        while self.hangs:
            time.sleep(0.05)
        if self.ends:
            return b""
        if asked.request_line.startswith("GET /healthz"):
            return HEALTHY
        is_admitted = self.has_room_for_alice and ALICE["Cookie"] in asked.all("Cookie")
        return LET_IN if is_admitted else SHED

    def checks(self) -> list[Received]:
        return [asked for asked in self.asked if "/authgate/" in asked.request_line]


@pytest.fixture(scope="module")
def two_portals() -> Iterator[tuple[BusyPortal, BusyPortal]]:
    first, second = BusyPortal(), BusyPortal()
    yield first, second
    first.close()
    second.close()


@pytest.fixture
def portals(two_portals: tuple[BusyPortal, BusyPortal]) -> tuple[BusyPortal, BusyPortal]:
    """Both portals, with room for alice."""
    for portal in two_portals:
        portal.has_room_for_alice, portal.hangs, portal.ends = True, False, False
        portal.asked.clear()
    return two_portals


@pytest.fixture(scope="module", params=list(FILES))
def proxy(
    request: pytest.FixtureRequest,
    two_portals: tuple[BusyPortal, BusyPortal],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    """Return a proxy with the shipped files for two portals."""
    backend = Backend(("app",))
    backend.start()
    first, second = (portal.bind for portal in two_portals)
    names = {"portal": PORTAL, **SITES}
    shown = Portal("https", names, free_port(), free_port(), first, {}, None, {})  # type: ignore[arg-type]
    folder, name = tmp_path_factory.mktemp("overload"), request.param
    proxy = _started(name, shown, backend, folder, second)
    yield proxy
    proxy.server.stop()
    backend.stop()


def _started(name: str, portal: Portal, backend: Backend, folder: Path, second: str) -> Proxy:
    file = FILES[name]
    if name == "nginx":
        return start_nginx(portal, backend, folder, file=file, second_at=second)
    if name == "traefik":
        return start_traefik(portal, backend, folder, file=file, second_at=second)
    shipped = shipped_for(name, second, folder)
    return STARTERS[name](portal, backend, folder, file=file, shipped=shipped)


def test_a_check_without_room_at_one_portal_is_answered_by_the_other(
    proxy: Proxy, portals: tuple[BusyPortal, BusyPortal]
) -> None:
    busy, other = portals
    busy.has_room_for_alice = False

    statuses = [proxy.ask("/page", headers=FETCH | ALICE).status for _ in range(12)]

    assert statuses == [200] * 12
    assert busy.checks()
    assert len(other.checks()) == 12


def test_if_a_portal_ends_during_a_check_the_other_answers(
    proxy: Proxy, portals: tuple[BusyPortal, BusyPortal]
) -> None:
    for portal in portals:
        portals[0].ends, portals[1].ends = portal is portals[0], portal is portals[1]

        assert [proxy.ask("/page", headers=FETCH | ALICE).status for _ in range(6)] == [200] * 6


def test_if_a_portal_hangs_during_a_check_the_other_answers_later(
    proxy: Proxy, portals: tuple[BusyPortal, BusyPortal]
) -> None:
    if proxy.name == "envoy":
        pytest.skip("Envoy's time for a check is for all portals together")
    portals[0].hangs = True
    try:
        statuses = [proxy.ask("/page", headers=FETCH | ALICE).status for _ in range(2)]
    finally:
        portals[0].hangs = False

    assert statuses == [200, 200]


def test_strangers_who_overload_both_portals_do_not_lock_users_out(
    proxy: Proxy, portals: tuple[BusyPortal, BusyPortal]
) -> None:
    """Proxies take failing portals out of use, but neither of these has failed."""
    strangers = [proxy.ask("/page", headers=FETCH | {"Cookie": f"who=x{n}"}).status for n in range(4)]
    statuses = [proxy.ask("/page", headers=FETCH | ALICE).status for _ in range(12)]

    assert set(strangers) == {503}
    assert statuses == [200] * 12


def test_the_second_portal_receives_the_same_check(
    proxy: Proxy, portals: tuple[BusyPortal, BusyPortal]
) -> None:
    spoofed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Uri": "/open",
        "X-Forwarded-Host": "evil.example",
    }

    assert proxy.ask("/deep/../page?a=%2F", headers=FETCH | spoofed).status == 503

    first, second = (portal.checks() for portal in portals)
    assert first and second
    asked = [
        (each.request_line, sorted(header for header in each.headers if header[0].lower() != "host"))
        for each in (first[0], second[0])
    ]
    assert asked[0] == asked[1]
    assert first[0].all("X-Forwarded-For") == ["127.0.0.1"]
    assert b"evil.example" not in first[0].head
    assert b"/open" not in first[0].head


def test_a_client_cannot_request_a_check_itself(proxy: Proxy, portals: tuple[BusyPortal, BusyPortal]) -> None:
    for path in ("/authgate/nginx", "/authgate/traefik"):
        reply = proxy.ask(path, headers=FETCH | ALICE)
        at_the_portal = proxy.ask(path, site="portal", headers=FETCH | ALICE)

        assert not reply.header("X-Auth-Request-User")
        assert at_the_portal.status == 404
