"""Whole sign-ins in the real server: fifty at once, a provider that hangs, and npm's oidc-provider."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.driver import Driver
from tests.proxies.portal import Portal, start_portal
from tests.upstreams.provider import Provider
from tests.upstreams.real import Visitor, add_upstream, start_oidc_provider, url_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("portal")


@pytest.fixture(scope="module")
def portal(folder: Path) -> Iterator[Portal]:
    portal = start_portal(folder, scheme="http", without_proxy=True)
    yield portal
    portal.server.stop()


@pytest.fixture
def other() -> Iterator[Provider]:
    started = Provider()
    yield started
    started.stop()


def signed_in(portal: Portal, slug: str, provider: Provider, name: str) -> str:
    """Sign a user in, and return the launcher's page.

    If too many already wait for the provider, begin again as that page says. This can happen on a slow
    machine.
    """
    visitor = Visitor(url_of(portal))
    for _ in range(20):
        status, location, body = visitor.get(f"/upstreams/{slug}/start")
        if status == 302:
            claims = {"sub": name, "preferred_username": name}
            status, _, body = visitor.get(provider.sign_in(location, claims))
        if status != 503:
            break
        time.sleep(0.5)
    assert status == 302, body
    return visitor.get("/")[2]


def test_fifty_simultaneous_sign_ins_get_the_right_users(
    portal: Portal, folder: Path, provider: Provider
) -> None:
    add_upstream(portal, folder, "fifty", provider.issuer)
    names = [f"person-{number:02}" for number in range(50)]

    with ThreadPoolExecutor(50) as pool:
        pages = list(pool.map(lambda name: signed_in(portal, "fifty", provider, name), names))

    assert [
        name for name, page in zip(names, pages, strict=True) if f"Signed in as {name}<" not in page
    ] == []


def test_a_hanging_provider_delays_no_other_user(
    portal: Portal, folder: Path, provider: Provider, other: Provider
) -> None:
    done = threading.Event()
    provider.answers["/token"] = lambda handler: done.wait(10)
    add_upstream(portal, folder, "hanging", provider.issuer)
    add_upstream(portal, folder, "quick", other.issuer)

    def hang(number: int) -> int:
        visitor = Visitor(url_of(portal))
        location = visitor.get("/upstreams/hanging/start")[1]
        return visitor.get(provider.sign_in(location, {"sub": str(number)}))[0] if location else 503

    with ThreadPoolExecutor(30) as pool:
        hanging = [pool.submit(hang, number) for number in range(30)]
        time.sleep(2.5)
        began = time.monotonic()
        page = signed_in(portal, "quick", other, "robin")
        took = time.monotonic() - began
        statuses = {future.result() for future in hanging}
        done.set()

    assert "Signed in as robin<" in page
    assert took < 3
    assert statuses == {503}


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright) -> Browser:
    return driver.browser()


@pytest.fixture(scope="module")
def two_providers(portal: Portal, folder: Path) -> Iterator[dict[str, str]]:
    servers, told = [], {}
    for slug in ("campus", "clinic"):
        callback = f"{url_of(portal)}/upstreams/{slug}/callback"
        server, issuer = start_oidc_provider(folder, callback, f"s3cr3t of {slug}", f"{slug}.example")
        servers.append(server)
        told[slug] = add_upstream(portal, folder, slug, issuer, f"s3cr3t of {slug}")
    yield told
    for server in servers:
        server.stop()


@pytest.mark.parametrize("slug", ["campus", "clinic"])
def test_a_real_provider_passes_the_test(two_providers: dict[str, str], slug: str) -> None:
    lines = two_providers[slug].splitlines()[1:]

    assert len(lines) == 5
    assert [line for line in lines if not line.lstrip().startswith("good")] == []


@pytest.mark.browser
def test_two_real_providers_work_side_by_side_in_a_browser(
    portal: Portal, two_providers: dict[str, str], chromium: Browser
) -> None:
    who: dict[str, Any] = {}
    for slug in ("campus", "clinic"):
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{url_of(portal)}/accounts/login/?next=/accounts/providers/")
        page.get_by_role("link", name=f"Sign in with {slug.title()}").click()
        page.locator("[name=login]").fill("robin")
        page.locator("[name=password]").fill("anything")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("heading", name="Identity providers")).to_be_visible()
        who[slug] = page.locator(".who").inner_text()
        context.close()

    assert who == {
        "campus": "Signed in as robin of campus.example",
        "clinic": "Signed in as robin of clinic.example",
    }
