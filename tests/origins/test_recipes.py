"""The recipes of docs/recipes.md in a real browser, and the result without each recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from accounts.machines.api_tokens import make_token
from accounts.models import User
from authgate.models import Rule
from tests.browser.signing_in import sign_in
from tests.factories import ApplicationFactory, RuleFactory
from tests.origins.pages import Pages
from tests.origins.stage import Site, Stage, staged
from tests.proxies.processes import free_port

pytestmark = [pytest.mark.browser, pytest.mark.proxy]
CORS = {
    "Access-Control-Allow-Methods": "GET, PUT",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Allow-Credentials": "true",
}


@dataclass(frozen=True)
class Sites:
    """`board` is another origin of the same site, `elsewhere` an origin of another site."""

    stage: Stage
    pages: Pages
    app: str
    board: str
    elsewhere: str
    token: str


@pytest.fixture(scope="module", params=["nginx", "traefik"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    pages, tokens = Pages(), []
    hosts = ("app.example.com", "board.example.com", "elsewhere.example.org")
    listening = [Site(host, free_port(), pages.address) for host in hosts]

    def fill() -> None:
        everyone = Rule.Who.EVERYONE
        app, *_ = (
            ApplicationFactory(origins=[f"https://{site.host}:{site.port}"], who=who)
            for site, who in zip(listening, (Rule.Who.SIGNED_IN, everyone, everyone), strict=True)
        )
        RuleFactory(application=app, path="/saml/acs", exact=True, methods="POST", who=everyone)
        RuleFactory(application=app, path="/public.webmanifest", exact=True, methods="GET", who=everyone)
        RuleFactory(application=app, path="/api", methods="OPTIONS", who=everyone)
        RuleFactory(application=app, path="/api", who=Rule.Who.SIGNED_IN)
        tokens.append(make_token(User.objects.get(username="alice"), "script", [app], 3600)[1])

    with staged(request.param, listening, tmp_path_factory.mktemp("recipes"), fill) as stage:
        yield Sites(stage, pages, *map(stage.origin, listening), tokens[0])
    pages.shutdown()
    pages.server_close()


@pytest.fixture(scope="module")
def cookies(sites: Sites, whole_chromium: Browser) -> Any:
    """The cookies of a browser in which alice has signed in and opened the application."""
    with whole_chromium.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"{sites.app}/")
        sign_in(page)
        page.wait_for_url(f"{sites.app}/")
        return context.storage_state()


@pytest.fixture
def page(sites: Sites, cookies: Any, whole_chromium: Browser) -> Iterator[Page]:
    """A browser with those cookies, which has just opened the application."""
    sites.pages.answers.clear()
    with whole_chromium.new_context(ignore_https_errors=True, storage_state=cookies) as context:
        page = context.new_page()
        page.goto(f"{sites.app}/")
        sites.pages.asked.clear()
        yield page


def post_from_elsewhere(sites: Sites, page: Page, path: str) -> None:
    """Send a form from another site, as identity providers and payment services do."""
    page.goto(f"{sites.elsewhere}/")
    sites.pages.asked.clear()
    page.set_content(f"<form method=post action='{sites.app}{path}'><input name=SAMLResponse value=x></form>")
    with page.expect_navigation(url=lambda url: url.startswith(sites.app)):
        page.evaluate("document.forms[0].submit()")
    page.wait_for_load_state()


def test_a_form_of_another_site_reaches_an_open_path(sites: Sites, page: Page) -> None:
    sites.pages.answers["POST", "/saml/acs"] = (303, {"Location": "/home"}, "")

    post_from_elsewhere(sites, page, "/saml/acs")
    page.wait_for_url(f"{sites.app}/home")

    assert sites.pages.asked == [
        ("POST", "/saml/acs", "", "SAMLResponse=x"),
        ("GET", "/home", "alice", ""),
    ]


def test_without_the_rule_the_form_is_lost(sites: Sites, page: Page) -> None:
    post_from_elsewhere(sites, page, "/callback")
    page.wait_for_url(f"{sites.app}/callback")

    assert [method for method, *_ in sites.pages.asked] == ["GET"]


MANIFESTS = {
    "without anything": ("/app.webmanifest", "", None),
    "with credentials": ("/app.webmanifest", "crossorigin='use-credentials'", "alice"),
    "by a rule": ("/public.webmanifest", "", ""),
}


@pytest.mark.parametrize(("path", "attribute", "user"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_is_read(sites: Sites, page: Page, path: str, attribute: str, user: str | None) -> None:
    link = f"<link rel=manifest href='{path}' {attribute}>"
    sites.pages.answers["GET", "/installable"] = (200, {}, f"<html><head>{link}</head>installable")
    content = json.dumps({"name": "App", "start_url": "/"})
    sites.pages.answers["GET", path] = (200, {"Content-Type": "application/manifest+json"}, content)
    page.goto(f"{sites.app}/installable")

    found = page.context.new_cdp_session(page).send("Page.getAppManifest")

    read = [(asked, who) for _, asked, who, _ in sites.pages.asked if asked == path]
    assert set(read) == ({(path, user)} if user is not None else set())
    assert bool(found.get("data")) == (user is not None)


def fetch(page: Page, url: str, headers: dict[str, str], credentials: str) -> str:
    """Send a PUT that needs a preflight, and return its body, or the browser's error."""
    found = page.evaluate(
        "([url, headers, credentials]) => fetch(url, {method: 'PUT', body: '{}', headers, credentials})"
        ".then(answer => answer.text(), error => error.message)",
        [url, headers, credentials],
    )
    return str(found)


def allow(sites: Sites, path: str, origin: str) -> None:
    headers = CORS | {"Access-Control-Allow-Origin": origin}
    sites.pages.answers["OPTIONS", path] = (204, headers, "")
    sites.pages.answers["PUT", path] = (200, headers, "saved")


def test_a_script_of_another_origin_sends_a_preflight_and_then_writes(sites: Sites, page: Page) -> None:
    allow(sites, "/api/items", sites.board)
    page.goto(f"{sites.board}/")
    sites.pages.asked.clear()

    found = fetch(page, f"{sites.app}/api/items", {"Content-Type": "application/json"}, "include")

    assert found == "saved"
    asked = [(method, user) for method, _, user, _ in sites.pages.asked]
    assert asked == [("OPTIONS", ""), ("PUT", "alice")]


def test_without_the_rule_the_browser_stops_after_the_preflight(sites: Sites, page: Page) -> None:
    allow(sites, "/other/items", sites.board)
    page.goto(f"{sites.board}/")
    sites.pages.asked.clear()

    found = fetch(page, f"{sites.app}/other/items", {"Content-Type": "application/json"}, "include")

    assert found == "Failed to fetch"
    assert sites.pages.asked == []


def test_a_script_of_another_site_writes_with_a_token(sites: Sites, page: Page) -> None:
    allow(sites, "/api/items", sites.elsewhere)
    page.goto(f"{sites.elsewhere}/")
    sites.pages.asked.clear()

    by_cookie = fetch(page, f"{sites.app}/api/items", {"Content-Type": "application/json"}, "include")
    by_token = fetch(page, f"{sites.app}/api/items", {"Authorization": f"Bearer {sites.token}"}, "omit")

    assert (by_cookie, by_token) == ("Failed to fetch", "saved")
    assert [user for method, _, user, _ in sites.pages.asked if method == "PUT"] == ["alice"]
