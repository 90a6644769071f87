"""Two real providers behind a real nginx, in a real browser: one user and one protected site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.behaviour import FETCH
from tests.browser.driver import Driver
from tests.browser.test_story import DOMAINS, resolver
from tests.proxies.backend import Backend
from tests.proxies.nginx import start_nginx
from tests.proxies.portal import Portal, start_portal
from tests.proxies.proxy import Proxy
from tests.upstreams.real import add_upstream, start_oidc_provider

pytestmark = [pytest.mark.browser, pytest.mark.proxy]

HOSTS = {"campus": "127.0.0.3", "clinic": "127.0.0.4"}
"""Separate addresses, because cookies are shared by all ports of a host."""


@dataclass
class Installation:
    portal: Portal
    proxy: Proxy

    def app(self, path: str) -> str:
        return f"{self.portal.origin('app')}{path}"

    def at_portal(self, path: str) -> str:
        return f"{self.portal.origin('portal')}{path}"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    backend, folder = Backend(("app", "wiki", "ops")), tmp_path_factory.mktemp("portal")
    backend.start()
    portal = start_portal(folder, scheme="http", domains=DOMAINS)
    proxy = start_nginx(portal, backend, tmp_path_factory.mktemp("nginx"))
    made, servers = Installation(portal, proxy), [proxy.server, portal.server, backend]
    for slug, host in HOSTS.items():
        callback = made.at_portal(f"/upstreams/{slug}/callback")
        server, issuer = start_oidc_provider(folder, callback, f"s3cr3t of {slug}", f"{slug}.example", host)
        servers.append(server)
        add_upstream(portal, folder, slug, issuer, f"s3cr3t of {slug}")
    yield made
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright, installation: Installation) -> Browser:
    return driver.browser(resolver(installation.proxy, "*.localhost"))


@pytest.fixture
def page(installation: Installation, chromium: Browser) -> Iterator[Page]:
    installation.proxy.backend.take()
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def sign_in_there(page: Page, name: str) -> None:
    page.locator("[name=login]").fill(name)
    page.locator("[name=password]").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def users_seen(installation: Installation) -> list[str]:
    """Return the user that the application received for each request of a page."""
    return [
        name
        for received in installation.proxy.backend.take()
        if "favicon" not in received.request_line
        for name in received.all("X-Auth-Request-User")
    ]


def test_a_user_signs_in_links_the_other_provider_and_signs_in_with_it(
    installation: Installation, page: Page
) -> None:
    first, second = installation.app("/first?x=1"), installation.app("/second")
    page.goto(first)
    expect(page.get_by_role("link", name="Sign in with Clinic")).to_be_visible()
    page.get_by_role("link", name="Sign in with Campus").click()
    sign_in_there(page, "robin")
    expect(page).to_have_url(first)
    assert users_seen(installation) == ["robin"]

    page.goto(installation.at_portal("/accounts/providers/"))
    page.get_by_role("button", name="Link", exact=True).click()
    sign_in_there(page, "kim")
    expect(page.get_by_text("Clinic was linked to your account.")).to_be_visible()

    page.goto(installation.app("/authgate/sign_out"))
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page).to_have_url(installation.at_portal("/signed-out"))
    cookies = page.context.cookies(installation.app("/"))
    line = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)
    assert installation.proxy.ask("/data", headers=FETCH | {"Cookie": line}).status == 401

    # The other provider still knows the browser, as a user with another name.
    page.goto(second)
    page.get_by_role("link", name="Sign in with Clinic").click()
    expect(page).to_have_url(second)
    assert users_seen(installation) == ["robin"]


def test_the_same_name_at_two_providers_is_two_users(installation: Installation, chromium: Browser) -> None:
    seen = []
    for slug in HOSTS:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(installation.app("/"))
        page.get_by_role("link", name=f"Sign in with {slug.title()}").click()
        sign_in_there(page, "sam")
        expect(page).to_have_url(installation.app("/"))
        seen += users_seen(installation)
        context.close()

    assert seen == ["sam", "sam-2"]
