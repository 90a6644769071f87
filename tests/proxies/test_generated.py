"""The configurations that the portal generates, in real proxies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.generated import OTHER_NAME, PREPARE, start_generated
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.test_spoofing import EVIL, IDENTITY
from tests.proxies.wire import request_bytes

pytestmark = pytest.mark.proxy


@pytest.fixture(scope="module", params=[*PREPARE, "ingress-nginx"])
def generated(
    request: pytest.FixtureRequest, portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("generated")
    proxy = start_generated(request.param, portal, backend, folder, "127.0.0.11")
    yield proxy
    proxy.server.stop()


def test_a_page_leads_to_the_portal_and_an_api_does_not(generated: Proxy) -> None:
    page = generated.ask("/page", headers=NAVIGATION)
    api = generated.ask("/api/page", headers=NAVIGATION)

    assert page.status == 302
    assert page.header("Location").startswith(f"{generated.portal.origin('portal')}/continue?state=")
    assert (api.status, api.header("Location")) == (401, "")
    assert generated.backend.take() == []


@pytest.mark.parametrize("path", ["/page", "/api/page"])
def test_only_the_portal_can_set_identity_headers(generated: Proxy, path: str) -> None:
    forged = [*FETCH.items(), *((name, EVIL) for name in IDENTITY)]
    reply = generated.ask(path, headers=forged, who="alice")

    [received] = generated.backend.take()
    assert (reply.status, received.all("X-Auth-Request-User")) == (200, ["alice"])
    assert EVIL.encode() not in received.head


@pytest.mark.parametrize("path", ["/page", "/api/page"])
def test_a_token_for_the_portal_does_not_reach_the_application(generated: Proxy, path: str) -> None:
    token = f"Bearer {generated.portal.api_tokens['token']}"
    reply = generated.ask(path, headers=[*FETCH.items(), ("Authorization", token)])

    [received] = generated.backend.take()
    assert reply.status == 200
    assert b"ikd_" not in received.head


def test_rules_are_applied(generated: Proxy) -> None:
    assert generated.ask("/staff/rota", headers=NAVIGATION, who="bob").status == 403
    assert generated.backend.take() == []


def test_userinfo_answers_on_the_site_and_checks_are_hidden_on_the_portal(generated: Proxy) -> None:
    check = request_bytes("GET", "/authgate/nginx", generated.portal.host("portal"), FETCH)
    hidden = generated.send(check)

    assert generated.ask("/authgate/userinfo", headers=FETCH, who="alice").status == 200
    assert hidden is not None and hidden.status == 404


def test_the_portals_pages_are_reached(generated: Proxy) -> None:
    reply = generated.send(
        request_bytes("GET", "/accounts/login/", generated.portal.host("portal"), NAVIGATION)
    )

    assert reply is not None and reply.status == 200


def test_every_name_of_the_application_is_checked_and_no_other_is_served(generated: Proxy) -> None:
    """The portal refuses the second name, which belongs to no application."""
    port = generated.portal.port
    named = generated.send(request_bytes("GET", "/", f"{OTHER_NAME}:{port}", FETCH), tls_name=OTHER_NAME)
    other = generated.send(request_bytes("GET", "/", f"other.example.com:{port}", FETCH))

    assert named is not None and named.status == 403
    assert other is not None and other.status in (404, 421)
    assert generated.backend.take() == []
