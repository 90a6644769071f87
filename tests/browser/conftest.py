"""A Chromium under the policy as shipped, and the portal as a live server. `page` has no scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.proxies.processes import binary

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Playwright keeps an event loop in this thread, which Django would take for asynchronous code of ours.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary("chromium", "chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def portal(live_server: Any, settings: Any) -> str:
    """The portal at the live server's address, over plain http: cookies without prefix and Secure."""
    settings.IKD_PORTAL_URL = settings.IKD_PORTAL_ORIGIN = live_server.url
    settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE = "ikd_portal", False
    settings.CSRF_COOKIE_NAME, settings.CSRF_COOKIE_SECURE = "ikd_csrf", False
    settings.LANGUAGE_COOKIE_NAME, settings.LANGUAGE_COOKIE_SECURE = "ikd_language", False
    settings.IKD_REMEMBERED_DEVICE_COOKIE_NAME, settings.COOKIE_PREFIX = "ikd_device", ""
    settings.CSRF_TRUSTED_ORIGINS = []
    url: str = live_server.url
    return url


@pytest.fixture
def console() -> list[str]:
    return []


@pytest.fixture
def page(chromium: Browser, console: list[str]) -> Iterator[Page]:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    yield page
    context.close()
