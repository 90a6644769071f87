"""Applications inside other pages, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from authgate.models import Rule
from tests.browser.signing_in import sign_in
from tests.factories import ApplicationFactory
from tests.origins.pages import Pages
from tests.origins.stage import Site, Stage, staged
from tests.proxies.processes import free_port

pytestmark = [pytest.mark.browser, pytest.mark.proxy]


@dataclass(frozen=True)
class Sites:
    """`board` is on the same site as app and portal, `elsewhere` on another."""

    stage: Stage
    app: str
    ops: str
    board: str
    elsewhere: str


@pytest.fixture(scope="module", params=["nginx", "traefik"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    pages = Pages()
    hosts = ("app.example.com", "ops.example.com", "board.example.com", "elsewhere.example.org")
    listening = [Site(host, free_port(), pages.address) for host in hosts]

    def fill() -> None:
        everyone, ops = {"who": Rule.Who.EVERYONE}, {"groups": ["operators"]}
        for site, rule in zip(listening, ({"who": Rule.Who.SIGNED_IN}, ops, everyone, everyone), strict=True):
            ApplicationFactory(origins=[f"https://{site.host}:{site.port}"], **rule)

    with staged(request.param, listening, tmp_path_factory.mktemp("frames"), fill) as stage:
        yield Sites(stage, *map(stage.origin, listening))
    pages.shutdown()
    pages.server_close()


@pytest.fixture
def page(whole_chromium: Browser) -> Iterator[Page]:
    context = whole_chromium.new_context(ignore_https_errors=True)
    yield context.new_page()
    context.close()


def framed(page: Page, around: str, inside: str) -> FrameLocator:
    """Open a page with another one in a frame."""
    page.goto(f"{around}/")
    page.evaluate(
        "source => { const frame = document.createElement('iframe'); frame.src = source;"
        " document.body.append(frame) }",
        inside,
    )
    return page.frame_locator("iframe")


def opened(page: Page, frame: FrameLocator) -> Page:
    """Follow the link in the frame, and return the tab that it opens."""
    with page.context.expect_page() as tab:
        frame.get_by_role("link").click()
    return tab.value


def test_another_sites_frame_shows_a_link_that_opens_a_tab(sites: Sites, page: Page) -> None:
    frame = framed(page, sites.elsewhere, f"{sites.app}/report?year=2026&x=1")

    expect(frame.locator("h1")).to_have_text("Open in a new tab")
    tab = opened(page, frame)
    sign_in(tab)
    tab.wait_for_url(f"{sites.app}/report?year=2026&x=1")

    expect(tab.locator("body")).to_contain_text("page /report")
    assert tab.evaluate("window.opener") is None


def test_following_a_link_in_another_sites_frame_shows_such_a_link(sites: Sites, page: Page) -> None:
    """The link has the same origin as the frame, but the browser still sends no cookie."""
    frame = framed(page, sites.elsewhere, f"{sites.app}/report")
    expect(frame.locator("h1")).to_have_text("Open in a new tab")

    page.frames[1].evaluate("location.href = '/another'")

    expect(frame.get_by_role("link")).to_have_attribute("href", f"{sites.app}/another")


def test_a_frame_of_the_same_site_is_signed_in_silently(sites: Sites, page: Page) -> None:
    page.goto(f"{sites.stage.portal_origin}/")
    sign_in(page)
    page.get_by_role("link", name="Sign out").wait_for()

    frame = framed(page, sites.board, f"{sites.app}/report")

    expect(frame.locator("body")).to_contain_text("page /report")


def test_a_frame_of_the_same_site_works_after_signing_in_in_a_tab(sites: Sites, page: Page) -> None:
    frame = framed(page, sites.board, f"{sites.app}/report")
    expect(frame.locator("h1")).to_have_text("Open in a new tab")
    tab = opened(page, frame)
    sign_in(tab)
    tab.wait_for_url(f"{sites.app}/report")

    frame = framed(page, sites.board, f"{sites.app}/report")

    expect(frame.locator("body")).to_contain_text("page /report")


def test_a_refusal_in_a_frame_opens_a_tab_that_says_why(sites: Sites, page: Page) -> None:
    page.goto(f"{sites.app}/")
    sign_in(page)
    page.wait_for_url(f"{sites.app}/")

    tab = opened(page, framed(page, sites.board, f"{sites.ops}/machines"))

    expect(tab.locator("h1")).to_contain_text("You do not have access")


@pytest.mark.parametrize("path", ["/accounts/login/", "/", "/continue?state=forged"])
def test_the_portals_own_pages_are_not_shown_in_a_frame(sites: Sites, page: Page, path: str) -> None:
    frame = framed(page, sites.board, f"{sites.stage.portal_origin}{path}")

    page.wait_for_function("frames.length == 1")
    expect(frame.locator("main, form")).to_have_count(0)
