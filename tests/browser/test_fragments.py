"""The fragment of the requested page survives every way to sign in, and no provider sees it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote

import pytest
from django.core.cache import caches
from playwright.sync_api import Browser, Page, expect

from accounts.models import Upstream
from accounts.upstreams.oidc import metadata
from authgate.models import KeptPage
from tests.factories import PASSWORD, UpstreamFactory, UserFactory
from tests.upstreams.cas_server import CasServer, send
from tests.upstreams.provider import Provider

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FRAGMENT = "#/route/2?tab=a%20b&x=1"
PAGE = "/accounts/?year=2026"
LOGIN = f"/accounts/login/?next={quote(PAGE)}"

ASKING = """<!doctype html><title>The provider</title><p id="seen"></p>
<script>document.getElementById("seen").textContent = "saw " + location.hash</script>
<form method="post"><a id="on" href="{back}">Sign in here</a></form>"""


class Interactive(Provider):
    """A provider that shows a page before it answers. The page displays the fragment that it sees."""

    portal = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if not handler.path.startswith("/authorize"):
            super().answer(handler)
            return
        page = ASKING.format(back=escape(self.portal + self.sign_in(handler.path, {"sub": "alice"})))
        send(handler, 200, {"Content-Type": "text/html"}, page.encode())


class InteractiveCas(CasServer):
    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        if not handler.path.startswith("/cas/login"):
            super().respond(handler)
            return
        page = ASKING.format(back=escape(self.issue(handler.path, "alice")[0]))
        send(handler, 200, {"Content-Type": "text/html"}, page.encode())


@pytest.fixture
def provider(portal: str, settings: Any) -> Iterator[Interactive]:
    settings.COOKIE_PREFIX = ""
    metadata.forget_all()
    for cache in caches.all():
        cache.clear()
    provider = Interactive()
    provider.portal = portal
    UpstreamFactory(slug="campus", name="Campus", issuer=provider.issuer, allow_private=True)
    yield provider
    provider.stop()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    """A page with scripts."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def sign_in_there(tab: Page) -> None:
    expect(tab.locator("#seen")).to_have_text("saw ")
    tab.click("#on")


def test_the_fragment_survives_a_sign_in_by_password(portal: str, tab: Page) -> None:
    UserFactory(username="alice")

    tab.goto(f"{portal}{LOGIN}{FRAGMENT}")
    tab.fill("[name=login]", "alice")
    tab.fill("[name=password]", PASSWORD)
    tab.click("main button[type=submit]")

    expect(tab).to_have_url(f"{portal}{PAGE}{FRAGMENT}")


def test_the_fragment_survives_a_sign_in_by_a_provider(portal: str, tab: Page, provider: Interactive) -> None:
    tab.goto(f"{portal}{LOGIN}{FRAGMENT}")
    tab.get_by_role("link", name="Sign in with Campus").click()
    sign_in_there(tab)

    expect(tab).to_have_url(f"{portal}{PAGE}{FRAGMENT}")
    assert KeptPage.objects.count() == 1


def test_the_fragment_survives_a_sign_in_by_the_default_provider(
    portal: str, tab: Page, provider: Interactive
) -> None:
    Upstream.objects.update(is_default=True)

    tab.goto(f"{portal}{LOGIN}{FRAGMENT}")
    sign_in_there(tab)

    expect(tab).to_have_url(f"{portal}{PAGE}{FRAGMENT}")
    tab.go_back()
    expect(tab).not_to_have_url(f"{portal}{LOGIN}{FRAGMENT}")


def test_the_fragment_survives_a_sign_in_by_cas(portal: str, tab: Page, settings: Any) -> None:
    settings.COOKIE_PREFIX = ""
    server = InteractiveCas()
    UpstreamFactory(
        slug="campus",
        name="Campus",
        kind="cas",
        issuer="",
        client_id="",
        server_url=server.url,
        allow_private=True,
        is_default=True,
    )

    tab.goto(f"{portal}{LOGIN}{FRAGMENT}")
    sign_in_there(tab)

    expect(tab).to_have_url(f"{portal}{PAGE}{FRAGMENT}")
    server.stop()


def test_the_fragment_survives_a_failure_and_another_attempt(
    portal: str, tab: Page, provider: Interactive
) -> None:
    provider.answers["/token"] = (500, {}, b"")
    tab.goto(f"{portal}{LOGIN}{FRAGMENT}")
    tab.get_by_role("link", name="Sign in with Campus").click()
    sign_in_there(tab)
    expect(tab.locator("h1")).to_have_text("Not signed in")
    del provider.answers["/token"]

    tab.get_by_role("link", name="Try again").click()
    sign_in_there(tab)

    expect(tab).to_have_url(f"{portal}{PAGE}{FRAGMENT}")


def test_the_fragment_survives_a_change_to_another_way_after_a_failure(
    portal: str, tab: Page, provider: Interactive
) -> None:
    UserFactory(username="bob")
    provider.answers["/token"] = (500, {}, b"")
    tab.goto(f"{portal}{LOGIN}{FRAGMENT}")
    tab.get_by_role("link", name="Sign in with Campus").click()
    sign_in_there(tab)

    tab.get_by_role("link", name="Other ways to sign in").click()
    tab.fill("[name=login]", "bob")
    tab.fill("[name=password]", PASSWORD)
    tab.click("main button[type=submit]")

    expect(tab).to_have_url(f"{portal}{PAGE}{FRAGMENT}")


def test_nothing_is_stored_without_a_fragment(portal: str, tab: Page, provider: Interactive) -> None:
    Upstream.objects.update(is_default=True)

    tab.goto(f"{portal}{LOGIN}")
    sign_in_there(tab)

    expect(tab).to_have_url(f"{portal}{PAGE}")
    assert not KeptPage.objects.exists()


def test_the_default_provider_is_reached_without_scripts(
    portal: str, page: Page, provider: Interactive
) -> None:
    Upstream.objects.update(is_default=True)

    page.goto(f"{portal}{LOGIN}")
    page.wait_for_selector("#on")
    page.click("#on")

    expect(page).to_have_url(f"{portal}{PAGE}")
