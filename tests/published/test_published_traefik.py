"""The published Traefik objects for oauth2-proxy, with the portal instead of oauth2-proxy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.behaviour import FETCH, NAVIGATION
from tests.browser.test_story import SIGN_IN, sign_in
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.wire import Reply, exchange, request_bytes

pytestmark = [pytest.mark.proxy, pytest.mark.browser]

SITE = "app.example.com"


def ask(path: str, headers: dict[str, str]) -> Reply:
    reply = exchange(("127.0.0.1", 80), request_bytes("GET", path, SITE, headers), tls_name=None)
    assert reply is not None
    return reply


def test_a_page_leads_to_the_portal_and_back(traefik: Portal, backend: Backend, page: Page) -> None:
    page.goto(f"http://{SITE}/deep/page?x=1&y=%23#part")
    expect(page).to_have_url(SIGN_IN)
    sign_in(page, "alice")

    assert page.url == f"http://{SITE}/deep/page?x=1&y=%23#part"
    received = backend.take()[0]
    assert received.request_line.startswith("GET /deep/page?x=1&y=%23 ")
    assert received.all("X-Auth-Request-User") == ["alice"]
    assert received.all("X-Auth-Request-Preferred-Username") == ["alice"]
    assert received.all("X-Auth-Request-Groups") == ["staff"]


def test_a_script_without_a_sign_in_gets_401(traefik: Portal, backend: Backend) -> None:
    backend.take()

    reply = ask("/api/items", FETCH)

    assert (reply.status, reply.header("Location")) == (401, "")
    assert backend.take() == []


def test_a_guest_in_a_group_s_scope_is_refused(traefik: Portal, backend: Backend) -> None:
    backend.take()

    reply = ask("/staff/rota", NAVIGATION | {"Cookie": traefik.cookie("bob", "app")})

    assert reply.status == 403
    assert backend.take() == []


def test_the_page_for_a_401_leads_to_the_portal(traefik: Portal, page: Page) -> None:
    page.goto(f"http://{SITE}/oauth2/sign_in")

    expect(page).to_have_url(SIGN_IN)


def test_signing_out_closes_the_site(traefik: Portal, page: Page) -> None:
    page.goto(f"http://{SITE}/")
    sign_in(page, "alice")

    page.goto(f"http://{SITE}/oauth2/sign_out?rd=%2F")
    # Without https, browsers do not send that the address was typed, so the portal asks.
    page.get_by_role("button", name="Sign out").click()

    expect(page).to_have_url(SIGN_IN)
