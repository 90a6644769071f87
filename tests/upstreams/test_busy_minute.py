"""A busy minute in the real server: many users at one provider, while another provider drips."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest

from tests.forks import printed_by
from tests.own_database import environment_in
from tests.proxies.portal import Portal, start_portal
from tests.upstreams.cas_server import CasServer
from tests.upstreams.provider import Provider
from tests.upstreams.real import Visitor, url_of
from tests.upstreams.test_cas_slow import check

PEOPLE, DRIPPING, TABS = 200, 60, 8
ANSWER = 0.6
"""Seconds for each answer of the healthy provider."""

LAY_OUT = """
from accounts.models import Upstream
for slug, issuer in {issuers!r}.items():
    Upstream.objects.create(slug=slug, name=slug, issuer=issuer, client_id="portal", allow_private=True)
Upstream.objects.create(
    slug="cas", name="cas", kind="cas", server_url={cas!r}, allow_private=True
)
"""


class SlowProvider(Provider):
    delay = ANSWER

    def _honest(
        self, path: str, body: bytes, handler: BaseHTTPRequestHandler
    ) -> tuple[int, dict[str, str], bytes]:
        time.sleep(self.delay)
        return super()._honest(path, body, handler)


class Dripping(Provider):
    """Answers its discovery at once, and other requests a byte at a time for longer than clients wait."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/.well-known/"):
            super().answer(handler)
            return
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(600):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.1)
        except OSError:
            handler.close_connection = True


@pytest.fixture(scope="module")
def healthy() -> Iterator[SlowProvider]:
    provider = SlowProvider()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def dripping() -> Iterator[Dripping]:
    provider = Dripping()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def cas_server() -> Iterator[CasServer]:
    server = CasServer()
    server.keeps_newest_only = True
    yield server
    server.stop()


@pytest.fixture(scope="module")
def portal(
    tmp_path_factory: pytest.TempPathFactory, healthy: Provider, dripping: Provider, cas_server: CasServer
) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("portal")
    portal = start_portal(folder, scheme="http", without_proxy=True)
    script = LAY_OUT.format(
        issuers={"healthy": healthy.issuer, "dripping": dripping.issuer}, cas=cas_server.url
    )
    printed_by(["manage.py", "shell", "-v0", "-c", script], environment_in(folder, url_of(portal)))
    yield portal
    portal.server.stop()


Visit = tuple[Visitor, str, Callable[[str], str]]
"""A browser at its provider, the path back to the portal, and a function that signs in there again."""


def come_back(visitor: Visitor, back: str, sign_in: Callable[[str], str]) -> tuple[int, str]:
    """Return the final answer. On a machine that is too busy, the portal asks to try again.

    If it had used the code up by then, it sends the browser to the provider once more.
    """
    deadline = time.monotonic() + 120
    status, location, _ = visitor.get(back)
    while status == 503 and time.monotonic() < deadline:
        time.sleep(5)
        status, location, _ = visitor.get(back)
        if location.startswith("/upstreams/"):
            back = sign_in(visitor.get(location)[1])
            status, location, _ = visitor.get(back)
    return status, location


def left_for(portal: Portal, provider: Provider, slug: str, number: int) -> Visit:
    def sign_in(location: str) -> str:
        return provider.sign_in(location, {"sub": f"{slug}-{number}"})

    visitor = Visitor(url_of(portal), at_most=90)
    status, location, body = visitor.get(f"/upstreams/{slug}/start?next=/accounts/?n={number}")
    assert status == 302, body
    return visitor, sign_in(location), sign_in


def test_every_user_of_the_healthy_provider_signs_in(
    portal: Portal, healthy: Provider, dripping: Provider
) -> None:
    with ThreadPoolExecutor(PEOPLE + DRIPPING + 1) as pool:
        lost = list(pool.map(lambda n: left_for(portal, dripping, "dripping", n), range(DRIPPING)))
        for visitor, back, _ in lost:
            pool.submit(visitor.get, back)
        people = list(pool.map(lambda n: left_for(portal, healthy, "healthy", n), range(PEOPLE)))
        arriving = [pool.submit(come_back, *visit) for visit in people]
        beside = pool.submit(seen_beside, portal)
        arrived = [future.result() for future in arriving]

    assert {status for status, _ in arrived} == {302}
    assert {location for _, location in arrived} == {
        f"{url_of(portal)}/accounts/?n={number}" for number in range(PEOPLE)
    }
    pages, checks = beside.result()
    assert {status for status, _ in pages + checks} == {200}
    # These need no provider, so they take less than two of its answers. The median, as the machine may be
    # busy.
    assert sorted(seconds for _, seconds in checks)[len(checks) // 2] < 2 * ANSWER
    assert sorted(seconds for _, seconds in pages)[len(pages) // 2] < 2 * ANSWER


def seen_beside(portal: Portal) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Return status and seconds of sign-in pages and checks while the providers are busy."""
    pages, checks = [], []
    for _ in range(5):
        began = time.monotonic()
        status = Visitor(url_of(portal)).get("/accounts/login/")[0]
        pages.append((status, time.monotonic() - began))
        checks.append(check(portal, "alice", "app"))
        time.sleep(0.2)
    return pages, checks


def test_restored_tabs_of_one_browser_end_on_their_pages(portal: Portal, healthy: Provider) -> None:
    cookies: dict[str, str] = {}

    def sign_in(location: str) -> str:
        return healthy.sign_in(location, {"sub": "restorer"})

    assert ends_of_tabs(portal, "healthy", cookies, sign_in) == pages_of_tabs(portal)


def test_restored_tabs_with_cas_end_on_their_pages(portal: Portal, cas_server: CasServer) -> None:
    cookies: dict[str, str] = {}
    turn = threading.Lock()

    def sign_in(location: str) -> str:
        with turn:
            return cas_server.issue(location, "restorer")[0].removeprefix(url_of(portal))

    assert ends_of_tabs(portal, "cas", cookies, sign_in) == pages_of_tabs(portal)


def pages_of_tabs(portal: Portal) -> list[str]:
    return [f"{url_of(portal)}/accounts/?tab={number}" for number in range(TABS)]


def ends_of_tabs(portal: Portal, slug: str, cookies: dict[str, str], sign_in: object) -> list[str]:
    """Open tabs of one browser at once, let each go to its provider, and return where each ends."""
    everybody = threading.Barrier(TABS)

    def tab(number: int) -> str:
        visitor = Visitor(url_of(portal), cookies, at_most=90)
        location = f"/upstreams/{slug}/start?next=/accounts/?tab={number}"
        everybody.wait(60)
        for step in range(30):
            status, location, body = visitor.get(location.removeprefix(url_of(portal)))
            if status != 302:
                return f"{status}: {body[:2000]}"
            if "/accounts/?tab=" in location:
                return location
            if not location.startswith("/"):
                location = sign_in(location)  # type: ignore[operator]
            if step == 0:
                everybody.wait(60)
        return "loops"

    with ThreadPoolExecutor(TABS) as pool:
        return list(pool.map(tab, range(TABS)))
