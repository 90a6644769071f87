"""The smallest shipped configurations: one site, and the same protection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.nginx import start_nginx
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.registry import STARTERS
from tests.proxies.test_spoofing import EVIL, IDENTITY
from tests.proxies.traefik import start_traefik
from tests.proxies.wire import request_bytes

pytestmark = pytest.mark.proxy

SMALLEST = {
    "nginx": "minimal.conf",
    "traefik": "minimal.yaml",
    "envoy": "minimal.yaml",
    "haproxy": "minimal.cfg",
    "caddy": "minimal.Caddyfile",
    "ingress_nginx": "minimal.yaml",
}


FOR_SEVERAL = {
    "nginx for several": (start_nginx, "minimal.conf"),
    "traefik for several": (start_traefik, "several.yaml"),
}
"""The files for several portals. Here, all of these are the same portal."""


@pytest.fixture(scope="module", params=[*STARTERS, *FOR_SEVERAL])
def smallest(
    request: pytest.FixtureRequest, portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Return each proxy with its smallest configuration, beside one with the complete configuration."""
    folder = tmp_path_factory.mktemp("smallest")
    if request.param in FOR_SEVERAL:
        start, file = FOR_SEVERAL[request.param]
        proxy = start(portal, backend, folder, file=file, loopback="127.0.0.4", second_at=portal.bind)
    else:
        start_one, file = STARTERS[request.param], SMALLEST[request.param]
        proxy = start_one(portal, backend, folder, file=file, loopback="127.0.0.4")
    yield proxy
    proxy.server.stop()


def test_a_page_leads_to_the_portal(smallest: Proxy) -> None:
    reply = smallest.ask("/page", headers=NAVIGATION)

    assert reply.status == 302
    assert reply.header("Location").startswith(f"{smallest.portal.origin('portal')}/continue?state=")


def test_a_program_gets_401(smallest: Proxy) -> None:
    assert smallest.ask("/page", headers=FETCH).status == 401


def test_the_application_receives_the_signed_in_user(smallest: Proxy) -> None:
    smallest.ask("/page", headers=[*FETCH.items(), *((name, EVIL) for name in IDENTITY)], who="alice")

    [received] = smallest.backend.take()
    assert received.all("X-Auth-Request-User") == ["alice"]
    assert EVIL.encode() not in received.head


def test_a_user_without_access_is_refused(smallest: Proxy) -> None:
    reply = smallest.ask("/staff/rota", headers=NAVIGATION, who="bob")

    assert (reply.status, len(reply.header("X-Auth-Decision"))) == (403, 12 if smallest.tells_why else 0)
    assert smallest.backend.take() == []


def test_userinfo_returns_the_signed_in_user(smallest: Proxy) -> None:
    assert smallest.ask("/authgate/userinfo", headers=FETCH, who="alice").status == 200


@pytest.mark.parametrize(
    "check", ["/authgate/nginx", "/authgate/traefik", "/oauth2/auth", "/%61uthgate/nginx"]
)
def test_the_portals_own_site_hides_its_checks(smallest: Proxy, check: str) -> None:
    reply = smallest.send(request_bytes("GET", check, smallest.portal.host("portal"), FETCH))

    assert reply is not None and reply.status == 404


def test_the_portals_pages_are_reached(smallest: Proxy) -> None:
    reply = smallest.send(
        request_bytes("GET", "/accounts/login/", smallest.portal.host("portal"), NAVIGATION)
    )

    assert reply is not None and reply.status == 200


def test_unknown_hosts_are_refused(smallest: Proxy) -> None:
    reply = smallest.send(request_bytes("GET", "/", "other.example.com", NAVIGATION))

    assert reply is not None and reply.status in (404, 421)
