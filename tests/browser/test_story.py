"""Complete sign-ins and sign-outs in a browser, through each real proxy, over plain http as in the demo."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.browser.chromium import FLAGS, listen_to_console, whole_browser, without_omnibox_popups
from tests.browser.driver import Driver
from tests.factories import PASSWORD
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal, start_portal
from tests.proxies.proxy import Proxy
from tests.proxies.registry import STARTERS

pytestmark = [pytest.mark.browser, pytest.mark.proxy]

DOMAINS = {
    "portal": "sso.localhost",
    "app": "app.localhost",
    "wiki": "wiki.example.localhost",
    "ops": "ops.localhost",
}
SIGN_IN = re.compile(r"/accounts/login/\?next=")


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    backend = Backend(("app", "wiki", "ops"))
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("portal")
    portal = start_portal(folder, scheme="http", domains=DOMAINS)
    yield portal
    portal.server.stop()


BY_HTTP = [name for name in STARTERS if name != "ingress_nginx"]
"""ingress-nginx redirects to https: see tests/proxies/test_https_in_a_browser.py."""


@pytest.fixture(scope="module", params=BY_HTTP)
def proxy(
    request: pytest.FixtureRequest, portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    proxy = STARTERS[request.param](portal, backend, tmp_path_factory.mktemp(request.param))
    yield proxy
    proxy.server.stop()


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright, proxy: Proxy) -> Browser:
    return driver.browser(resolver(proxy))


@pytest.fixture
def console() -> list[str]:
    return []


@pytest.fixture
def page(proxy: Proxy, chromium: Browser, console: list[str]) -> Iterator[Page]:
    proxy.backend.take()  # discard the requests of another proxy's tests
    context = chromium.new_context()
    page = context.new_page()
    listen_to_console(page, console)
    yield page
    context.close()


def test_one_sign_in_opens_unrelated_sites_and_one_sign_out_closes_them(
    proxy: Proxy, page: Page, console: list[str]
) -> None:
    wanted = f"{proxy.portal.origin('app')}/reports?year=2026&q=%23a+b&x=1&x=2#chapter-2"
    page.goto(wanted)
    expect(page).to_have_url(SIGN_IN)
    expect(page.locator("main")).to_contain_text("App")
    sign_in(page, "bob")
    assert page.url == wanted
    assert proxy.backend.take()[0].request_line == "GET /reports?year=2026&q=%23a+b&x=1&x=2 HTTP/1.1"

    page.goto(f"{proxy.portal.origin('wiki')}/start#top")
    assert page.url == f"{proxy.portal.origin('wiki')}/start#top"
    assert proxy.backend.take()[0].all("X-Auth-Request-User") == ["bob"]

    refused = page.goto(f"{proxy.portal.origin('ops')}/machines")
    assert refused is not None and refused.status == 403
    expect(page.locator("h1")).to_contain_text("Operations")
    expect(page.locator("main")).to_contain_text("bob")
    expect(page.get_by_role("link", name="My applications")).to_be_visible()
    assert "ops" not in {received.application for received in proxy.backend.take()}

    page.goto(f"{proxy.portal.origin('app')}/authgate/sign_out")
    expect(page.locator("h1")).to_have_text("You are signed out")
    for site in ("wiki", "app"):
        page.goto(f"{proxy.portal.origin(site)}/")
        expect(page).to_have_url(SIGN_IN)
    page.goto(proxy.portal.origin("portal"))
    expect(page).to_have_url(re.compile("/accounts/login/"))
    assert proxy.backend.take() == []
    assert [line for line in console if "/machines" not in line and "/continue" not in line] == []


def test_users_who_lose_a_group_are_refused_on_the_site(proxy: Proxy, page: Page) -> None:
    page.goto(f"{proxy.portal.origin('app')}/")
    sign_in(page, "bob")

    refused = page.goto(f"{proxy.portal.origin('app')}/staff/rota")

    assert refused is not None and refused.status == 403
    assert page.url == f"{proxy.portal.origin('app')}/staff/rota"
    expect(page.locator("h1")).to_contain_text("App")
    expect(page.locator("code")).to_have_text(re.compile("[0-9a-f]{12}"))
    assert page.locator("main").evaluate("element => getComputedStyle(element).display") != "inline"


def test_a_link_signs_out_at_once_and_a_foreign_one_asks_first(proxy: Proxy, page: Page) -> None:
    page.goto(f"{proxy.portal.origin('app')}/")
    sign_in(page, "alice")
    page.goto(f"{proxy.portal.origin('wiki')}/")

    page.evaluate(f"location.href = '{proxy.portal.origin('app')}/authgate/sign_out'")

    expect(page.locator("h1")).to_have_text("Sign out everywhere?")
    assert page.goto(f"{proxy.portal.origin('app')}/") is not None
    assert page.url == f"{proxy.portal.origin('app')}/"


def test_tabs_do_not_disturb_each_other(proxy: Proxy, page: Page) -> None:
    other = page.context.new_page()
    page.goto(f"{proxy.portal.origin('app')}/first?n=1")
    other.goto(f"{proxy.portal.origin('app')}/second?n=2")

    sign_in(page, "alice")
    sign_in_or_on(other, "alice")

    assert page.url == f"{proxy.portal.origin('app')}/first?n=1"
    assert other.url == f"{proxy.portal.origin('app')}/second?n=2"


def test_a_page_explains_blocked_cookies_and_there_is_no_redirect_loop(
    proxy: Proxy, playwright: Playwright, tmp_path: Path
) -> None:
    """Only cookies of the application's origin are blocked."""
    blocked = {"exceptions": {"cookies": {f"{DOMAINS['app']},*": {"setting": 2}}}}
    with without_cookies(playwright, proxy, tmp_path, {"content_settings": blocked}) as page:
        requests = watched(page)
        page.goto(f"{proxy.portal.origin('app')}/")
        sign_in(page, "alice", expected=re.compile("/continue"))

        expect(page.locator("h1")).to_contain_text("cookie")
        assert len(requests) < 40


def test_the_sign_in_page_explains_that_all_cookies_are_blocked(
    proxy: Proxy, playwright: Playwright, tmp_path: Path
) -> None:
    with without_cookies(
        playwright, proxy, tmp_path, {"default_content_setting_values": {"cookies": 2}}
    ) as page:
        requests = watched(page)
        page.goto(f"{proxy.portal.origin('app')}/")
        sign_in(page, "alice", expected=SIGN_IN)

        expect(page.locator("main")).to_contain_text("cookie")
        assert len(requests) < 20


def sign_in(page: Page, username: str, *, expected: re.Pattern[str] | None = None) -> None:
    page.fill("[name=login]", username)
    page.fill("[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_load_state()
    if expected is not None:
        expect(page).to_have_url(expected)


def sign_in_or_on(page: Page, username: str) -> None:
    """Continue in a tab with a sign-in page after the user has signed in in another tab."""
    page.reload()
    if page.locator("[name=login]").count():
        sign_in(page, username)


def resolver(proxy: Proxy, names: str = "*") -> str:
    """Return the flag that makes Chromium resolve these names, or all names, to the proxy."""
    return f"--host-resolver-rules=MAP {names} {proxy.address[0]}"


def watched(page: Page) -> list[str]:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    return requests


class without_cookies:
    """A browser with a profile that blocks cookies."""

    def __init__(self, playwright: Playwright, proxy: Proxy, folder: Path, profile: dict[str, Any]) -> None:
        preferences = folder / "Default" / "Preferences"
        preferences.parent.mkdir()
        preferences.write_text(json.dumps({"profile": profile}))
        self.context = playwright.chromium.launch_persistent_context(
            str(folder),
            executable_path=whole_browser(),
            args=[*FLAGS, without_omnibox_popups(), resolver(proxy)],
        )

    def __enter__(self) -> Page:
        return self.context.pages[0]

    def __exit__(self, *_: object) -> None:
        self.context.close()
