"""A Chromium under the policy as shipped, and the portal as a live server. `page` has no scripts.

All modules of this folder in one process share the browser.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright

from tests.browser.chromium import listen_to_console
from tests.browser.driver import Driver


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright) -> Browser:
    return driver.browser()


def portals_settings(url: str) -> dict[str, Any]:
    """Return the settings of a portal at `url` over plain http: cookies without prefix and Secure."""
    return {
        "IKD_PORTAL_URL": url,
        "IKD_PORTAL_ORIGIN": url,
        "SESSION_COOKIE_NAME": "ikd_portal",
        "SESSION_COOKIE_SECURE": False,
        "CSRF_COOKIE_NAME": "ikd_csrf",
        "CSRF_COOKIE_SECURE": False,
        "LANGUAGE_COOKIE_NAME": "ikd_language",
        "LANGUAGE_COOKIE_SECURE": False,
        "IKD_REMEMBERED_DEVICE_COOKIE_NAME": "ikd_device",
        "COOKIE_PREFIX": "",
        "CSRF_TRUSTED_ORIGINS": [],
    }


@pytest.fixture
def portal(live_server: Any, settings: Any) -> str:
    """The portal at the live server's address."""
    for name, value in portals_settings(live_server.url).items():
        setattr(settings, name, value)
    url: str = live_server.url
    return url


@pytest.fixture
def console() -> list[str]:
    return []


@pytest.fixture
def page(chromium: Browser, console: list[str]) -> Iterator[Page]:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    listen_to_console(page, console)
    yield page
    context.close()
