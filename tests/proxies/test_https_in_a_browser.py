"""The shipped configurations with https in a real browser: cookies that can only be set over https."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Playwright, expect

from tests.browser.driver import Driver
from tests.browser.test_story import SIGN_IN, resolver, sign_in
from tests.proxies.proxy import Proxy

pytestmark = [pytest.mark.proxy, pytest.mark.browser]


def test_one_sign_in_opens_two_domains_and_one_sign_out_closes_both(
    driver: Driver, playwright: Playwright, proxy: Proxy
) -> None:
    app, wiki = proxy.portal.origin("app"), proxy.portal.origin("wiki")
    with driver.browser(resolver(proxy)).new_context(ignore_https_errors=True) as context:
        page = context.new_page()

        page.goto(f"{app}/page?x=1#part")
        sign_in(page, "alice")
        signed_in_at = page.url
        page.goto(f"{wiki}/")
        second_at = page.url
        cookies = [cookie for cookie in context.cookies() if "gate" in str(cookie.get("name"))]
        page.goto(f"{app}/authgate/sign_out")
        expect(page).to_have_url(re.compile("/signed-out$"))
        page.goto(f"{wiki}/")
        expect(page).to_have_url(SIGN_IN)

    assert (signed_in_at, second_at) == (f"{app}/page?x=1#part", f"{wiki}/")
    assert {cookie.get("name") for cookie in cookies} == {f"__Host-ikd_gate_{proxy.portal.port}"}
    assert all(cookie.get("httpOnly") and cookie.get("secure") for cookie in cookies)
    assert {cookie.get("domain") for cookie in cookies} == {"app.example.com", "wiki.example.org"}
