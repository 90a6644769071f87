"""butterfly-auth's own setup: a single-page application, a real nginx, a real CAS server, and Chromium."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.browser.driver import Driver
from tests.browser.test_story import DOMAINS, resolver
from tests.forks import printed_by
from tests.own_database import environment_in
from tests.proxies.backend import Backend
from tests.proxies.nginx import start_nginx
from tests.proxies.portal import Portal, start_portal
from tests.proxies.proxy import Proxy
from tests.upstreams.real_cas import PASSWORD, USER, RealCas, start_real_cas

pytestmark = [pytest.mark.browser, pytest.mark.proxy, pytest.mark.xdist_group("cas browser")]

LOOPBACK = "127.0.0.2"

LAY_OUT = """
from accounts.models import Upstream
from authgate.models import Application
Upstream.objects.create(
    kind="cas", name="Campus", slug="campus", server_url={url!r}, allow_private=True, is_default=True
)
app = Application.objects.get(name="App")
app.username_header = True
app.save(update_fields=["username_header"])
app.rules.all().delete()
app.rules.create(path="/", exact=True, who="everyone")
app.rules.create(path="/index_sso.html", exact=True, who="everyone")
app.rules.create(path="/static", who="everyone")
app.rules.create(path="/", who="signed_in")
"""

ASK = """async path => {
    const answer = await fetch(path);
    const [target, username] = ["targetURL", "username"].map(name => answer.headers.get(name));
    return {status: answer.status, target, username, body: await answer.text()};
}"""
FETCH = """async path => {
    const answer = await fetch(path, {method: "POST", body: "a body"});
    return {status: answer.status, target: answer.headers.get("targetURL"), body: await answer.text()};
}"""


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    backend = Backend(("app", "wiki", "ops"))
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCas]:
    started = start_real_cas(tmp_path_factory.mktemp("cas"), host=LOOPBACK, portal=LOOPBACK)
    yield started
    started.server.stop()


@pytest.fixture(scope="module")
def portal(cas: RealCas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("portal")
    portal = start_portal(folder, scheme="http", domains=DOMAINS)
    create_people_and_sites(folder, portal, cas)
    yield portal
    portal.server.stop()


def create_people_and_sites(folder: Path, portal: Portal, cas: RealCas) -> None:
    environment = environment_in(folder, portal.origin("portal"))
    printed_by(["manage.py", "shell", "-v0", "-c", LAY_OUT.format(url=cas.url)], environment)


@pytest.fixture(scope="module")
def nginx(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    proxy = start_nginx(
        portal, backend, tmp_path_factory.mktemp("nginx"), file="butterfly.conf", loopback=LOOPBACK
    )
    yield proxy
    proxy.server.stop()


@pytest.fixture(scope="module")
def browser(driver: Driver, playwright: Playwright, nginx: Proxy) -> Browser:
    return driver.browser(resolver(nginx))


@pytest.fixture
def page(browser: Any, backend: Backend) -> Iterator[Page]:
    context = browser.new_context()
    backend.take()
    yield context.new_page()
    context.close()


def sign_in_there(page: Page) -> None:
    page.fill("[name=username]", USER)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")


def go_to_the_target(page: Page, first_page: str) -> list[str]:
    """Do what the application's script does after a 401. Return the addresses on the way."""
    passed: list[str] = []
    page.on(
        "request", lambda request: passed.append(request.url) if request.is_navigation_request() else None
    )
    told = page.evaluate(FETCH, "/api/items")
    assert (told["status"], told["target"]) == (401, "/auth/ssologin")
    page.evaluate("target => { window.location.href = target }", told["target"])
    page.wait_for_selector("[name=username]")
    sign_in_there(page)
    expect(page).to_have_url(first_page)
    return passed


def test_the_application_signs_in_through_the_server(
    page: Page, nginx: Proxy, cas: RealCas, backend: Backend
) -> None:
    app, sso = nginx.portal.origin("app"), nginx.portal.origin("portal")
    page.goto(f"{app}/")
    assert backend.take()[0].all("X-Username") == []

    passed = go_to_the_target(page, f"{app}/")

    assert passed[0] == f"{app}/auth/ssologin"
    assert any(url.startswith(f"{cas.url}/login?service=") for url in passed)
    assert any(url.startswith(f"{sso}/auth/ssologin?") and "ticket=ST-" in url for url in passed)
    backend.take()
    assert page.evaluate(FETCH, "/api/items")["status"] == 200
    received = backend.take()[0]
    assert received.request_line.startswith("POST /api/items ")
    assert received.all("X-Username") == [USER]


def test_identity_headers_of_a_client_are_removed(nginx: Proxy, backend: Backend) -> None:
    nginx.ask("/static/app.js", headers={"X-Username": "carol", "username": "carol"})

    received = backend.take()[0]
    assert (received.all("X-Username"), received.all("username")) == ([], [])


def test_verification_returns_the_signed_in_user(page: Page, nginx: Proxy) -> None:
    app = nginx.portal.origin("app")
    page.goto(f"{app}/index_sso.html")
    refused = page.evaluate(ASK, "/auth/verification")
    assert (refused["status"], refused["target"]) == (401, "/auth/ssologin")
    assert json.loads(refused["body"])["targetURL"] == "/auth/ssologin"

    go_to_the_target(page, f"{app}/index_sso.html")

    told = page.evaluate(ASK, "/auth/verification")
    assert (told["status"], told["username"], json.loads(told["body"])["user"]) == (200, USER, USER)


def test_the_page_after_a_sign_in_is_never_on_another_site(page: Page, nginx: Proxy) -> None:
    app = nginx.portal.origin("app")
    page.goto(f"{app}/")
    go_to_the_target(page, f"{app}/")

    for wanted in ("https://evil.example/", "//evil.example/", "%2F%2Fevil.example/", "/%5Cevil.example"):
        page.goto(f"{app}/auth/ssologin?next={wanted}")
        assert page.url == f"{app}/"


def test_signing_out_at_the_server_signs_out_here_within_a_second(
    page: Page, nginx: Proxy, cas: RealCas
) -> None:
    app = nginx.portal.origin("app")
    page.goto(f"{app}/")
    go_to_the_target(page, f"{app}/")
    there = page.context.new_page()
    assert page.evaluate(FETCH, "/api/items")["status"] == 200

    there.goto(f"{cas.url}/logout", wait_until="commit")
    answered = time.monotonic()

    while page.evaluate(FETCH, "/api/items")["status"] != 401:
        assert time.monotonic() - answered < 1
    page.goto(f"{nginx.portal.origin('portal')}/auth/verification")
    expect(page.locator("body")).to_contain_text("sign_in_required")


def test_a_fragment_survives_the_sign_in_at_the_server(
    page: Page, nginx: Proxy, cas: RealCas, backend: Backend
) -> None:
    app = nginx.portal.origin("app")
    uri, fragment = f"/reports?year=2026&{'x=1&' * 500}", "#/route/2?tab=a%20b"

    page.goto(f"{app}/authgate/start?rd={quote(uri, safe='')}{fragment}")
    page.wait_for_selector("[name=username]")
    assert page.url.startswith(f"{cas.url}/login?") and "route" not in page.url
    sign_in_there(page)

    expect(page).to_have_url(f"{app}{uri}{fragment}")
    assert backend.take()[0].request_line == f"GET {uri} HTTP/1.1"
