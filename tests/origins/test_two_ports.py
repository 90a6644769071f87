"""Two applications on one host with different ports, in a real browser, which sends cookies to both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page

from authgate.models import Rule
from tests.browser.signing_in import sign_in
from tests.factories import ApplicationFactory
from tests.origins.stage import Site, Stage, staged
from tests.proxies.backend import Backend
from tests.proxies.processes import free_port

pytestmark = [pytest.mark.browser, pytest.mark.proxy]
HOST = "nas.example.com"


@dataclass(frozen=True)
class Host:
    """A host with two applications."""

    proxy: str
    stage: Stage
    backend: Backend
    files: Site
    photos: Site


@pytest.fixture(scope="module", params=["nginx", "traefik"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    backend = Backend(("files", "photos"))
    backend.start()
    files, photos = (Site(HOST, free_port(), backend.addresses[name]) for name in backend.names)

    def fill() -> None:
        for name, site in (("Files", files), ("Photos", photos)):
            ApplicationFactory(name=name, origins=[f"https://{HOST}:{site.port}"], who=Rule.Who.SIGNED_IN)

    with staged(request.param, [files, photos], tmp_path_factory.mktemp("ports"), fill) as stage:
        yield Host(request.param, stage, backend, files, photos)
    backend.stop()


@pytest.fixture
def page(host: Host, chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(f"{host.stage.origin(host.files)}/")
    sign_in(page)
    page.wait_for_url(f"{host.stage.origin(host.files)}/")
    page.goto(f"{host.stage.origin(host.photos)}/")
    assert page.url == f"{host.stage.origin(host.photos)}/"
    host.backend.take()
    yield page
    context.close()


def test_each_application_keeps_its_session_while_the_other_is_open(host: Host, page: Page) -> None:
    first = page.context.new_page()
    first.goto(f"{host.stage.origin(host.files)}/list")
    page.reload()

    statuses = [tab.evaluate("fetch('/data').then(response => response.status)") for tab in (first, page)]
    asked = [received.request_line for received in host.backend.take() if "/data" in received.request_line]

    assert statuses == [200, 200]
    assert asked == ["GET /data HTTP/1.1"] * 2
    names = {
        str(cookie.get("name")) for cookie in page.context.cookies() if "gate" in str(cookie.get("name"))
    }
    assert names == {f"__Host-ikd_gate_{site.port}" for site in (host.files, host.photos)}


def test_a_form_is_still_posted_after_the_other_application_was_opened(host: Host, page: Page) -> None:
    first = page.context.new_page()
    first.goto(f"{host.stage.origin(host.files)}/")
    first.set_content("<form method=post action=/save><input name=title value=Holidays></form>")
    page.goto(f"{host.stage.origin(host.photos)}/other")

    first.evaluate("document.forms[0].submit()")
    first.wait_for_url("**/save")

    received = host.backend.take()[-1]
    assert received.request_line == "POST /save HTTP/1.1"
    assert received.application == "files" and received.body_length == len("title=Holidays")


def test_signing_out_at_one_application_closes_both(host: Host, page: Page) -> None:
    page.goto(f"{host.stage.origin(host.files)}/authgate/sign_out")
    page.goto(f"{host.stage.origin(host.photos)}/")

    assert page.url.startswith(f"{host.stage.portal_origin}/accounts/login/")


def test_only_a_proxy_that_removes_cookies_hides_those_of_the_other_port(host: Host, page: Page) -> None:
    """This is why docs/traefik.md requires a separate host for each application."""
    page.goto(f"{host.stage.origin(host.files)}/list")

    cookies = "".join(host.backend.take()[-1].all("Cookie"))

    assert "theme=dark" in cookies
    assert (f"__Host-ikd_gate_{host.photos.port}=" in cookies) == (host.proxy == "traefik")
