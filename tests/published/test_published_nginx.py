"""The published nginx server for oauth2-proxy, with the portal instead of oauth2-proxy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.behaviour import FETCH, NAVIGATION
from tests.browser.test_story import SIGN_IN, sign_in
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.wire import Reply, exchange, request_bytes

pytestmark = [pytest.mark.proxy, pytest.mark.browser]

SITE = "wiki.example.org"
"""Its rules are the same for every path, because this contract does not send the path."""


def ask(path: str, headers: dict[str, str]) -> Reply:
    reply = exchange(("127.0.0.1", 80), request_bytes("GET", path, SITE, headers), tls_name=None)
    assert reply is not None
    return reply


def test_a_page_leads_to_the_portal_and_back(nginx: Portal, backend: Backend, page: Page) -> None:
    page.goto(f"http://{SITE}/deep/page?x=1&y=%23#part")
    expect(page).to_have_url(SIGN_IN)
    sign_in(page, "alice")

    assert page.url == f"http://{SITE}/deep/page?x=1&y=%23#part"
    received = backend.take()[0]
    assert received.request_line.startswith("GET /deep/page?x=1&y=%23 ")
    assert received.all("X-User") == ["alice"]
    assert received.all("X-Email") == ["alice@example.com"]


def test_a_script_without_a_sign_in_gets_401(nginx: Portal, backend: Backend) -> None:
    backend.take()

    reply = ask("/api/items", FETCH)

    assert (reply.status, reply.header("Location")) == (401, "")
    assert len(reply.all("WWW-Authenticate")) == 1
    assert backend.take() == []


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("bob", 403)])
def test_a_groups_location_admits_only_that_group(
    nginx: Portal, backend: Backend, who: str, status: int
) -> None:
    backend.take()

    reply = ask("/staff/rota", FETCH | {"Cookie": nginx.cookie(who, "wiki")})

    assert reply.status == status
    assert [received.all("X-User") for received in backend.take()] == [["alice"]] * (status == 200)


def test_a_groups_location_leads_to_the_portal(nginx: Portal) -> None:
    reply = ask("/staff/rota", NAVIGATION)

    assert reply.status == 302
    assert "/continue?state=" in reply.header("Location")


def test_an_application_with_several_scopes_is_closed_without_a_path(nginx: Portal, backend: Backend) -> None:
    backend.take()
    headers = FETCH | {"Cookie": nginx.cookie("alice", "app")}

    reply = exchange(("127.0.0.1", 80), request_bytes("GET", "/", "app.example.com", headers), tls_name=None)

    assert reply is not None and reply.status == 403
    assert backend.take() == []


def test_signing_out_closes_the_site(nginx: Portal, backend: Backend, page: Page) -> None:
    page.goto(f"http://{SITE}/")
    sign_in(page, "alice")

    page.goto(f"http://{SITE}/oauth2/sign_out?rd=%2F")
    # Without https, browsers do not send that the address was typed, so the portal asks.
    page.get_by_role("button", name="Sign out").click()

    expect(page).to_have_url(SIGN_IN)


def test_a_link_to_the_published_sign_out_signs_out_at_once(
    nginx: Portal, backend: Backend, page: Page
) -> None:
    """Its location sends no scheme: `X-Scheme` is missing."""
    page.goto(f"http://{SITE}/")
    sign_in(page, "alice")
    assert ask("/api/items", FETCH | cookies_of(page)).status == 200

    page.evaluate("location.href = '/oauth2/sign_out'")

    expect(page).to_have_url("http://sso.example.com/signed-out")
    page.goto(f"http://{SITE}/")
    expect(page).to_have_url(SIGN_IN)


def test_a_forged_scheme_at_the_published_sign_out_ends_no_session(nginx: Portal) -> None:
    cookie = nginx.cookie("alice", "wiki")

    reply = ask("/oauth2/sign_out", {"X-Scheme": "https", "Cookie": cookie, "Referer": f"http://{SITE}/"})

    assert reply.status == 403
    assert ask("/api/items", FETCH | {"Cookie": cookie}).status == 200


def cookies_of(page: Page) -> dict[str, str]:
    pairs = [f"{cookie['name']}={cookie['value']}" for cookie in page.context.cookies(f"http://{SITE}/")]
    return {"Cookie": "; ".join(pairs)}
