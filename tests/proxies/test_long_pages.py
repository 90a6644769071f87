"""After a sign-in, a browser opens a page with a long address byte for byte, behind each proxy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Playwright

from tests.browser.driver import Driver
from tests.browser.test_story import resolver, sign_in
from tests.proxies.proxy import Proxy

pytestmark = [pytest.mark.proxy, pytest.mark.browser]

LENGTHS = (1_400, 1_950, 2_200, 4_000, 8_000)
"""Characters of path and query."""


def uri_of(length: int) -> str:
    beginning = "/page?year=2026&q=%23a+b%2Fc&x=1&x=2&state=%7B%22a%22%3A1%7D&fill="
    return (beginning + "a1-b2_c3.d4~" * 700)[:length]


def test_long_pages_are_opened_byte_for_byte(driver: Driver, playwright: Playwright, proxy: Proxy) -> None:
    app = proxy.portal.origin("app")
    opened = []
    with driver.browser(resolver(proxy)).new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        for number, length in enumerate(LENGTHS):
            proxy.backend.take()
            page.goto(f"{app}{uri_of(length)}#part-{number}")
            if number == 0:
                sign_in(page, "alice")
            page.wait_for_url(f"{app}/page*", wait_until="load")
            lines = [received.request_line for received in proxy.backend.take()]
            opened.append((page.url, lines[:1]))
            context.clear_cookies(domain=proxy.portal.names["app"])

    assert opened == [
        (f"{app}{uri_of(length)}#part-{number}", [f"GET {uri_of(length)} HTTP/1.1"])
        for number, length in enumerate(LENGTHS)
    ]
