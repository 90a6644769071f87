"""Chromium without a window: a build of Debian that takes a third less time for a page, or the browser."""

from __future__ import annotations

import os
import re
from pathlib import Path

import playwright as package
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

from tests.proxies.processes import binary, found

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",  # pages of one site share a process, which has compiled their scripts
]

FOCUSED_ALREADY = "Autofocus processing was blocked because a document already has a focused element"
"""A field was focused before the browser came to it: by the driver, on a slow machine."""

# Playwright keeps an event loop in this thread, which Django would take for asynchronous code of ours.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


def whole_browser() -> str:
    """Return the path of the browser that people use: with profiles, their settings and its own policies."""
    return binary("chromium", "chromium")


def launch(playwright: Playwright, *flags: str) -> Browser:
    program = found("chromium-headless-shell") or whole_browser()
    return playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])


def launch_whole(playwright: Playwright, *flags: str) -> Browser:
    args = [*FLAGS, without_omnibox_popups(), *flags]
    return playwright.chromium.launch(executable_path=whole_browser(), args=args)


def listen_to_console(page: Page, console: list[str]) -> None:
    """Collect what the browser complains of on a page."""

    def heard(message: ConsoleMessage) -> None:
        if not message.text.startswith(FOCUSED_ALREADY):
            console.append(f"{message.text} at {message.location.get('url')}")

    page.on("console", heard)
    page.on("pageerror", lambda error: console.append(str(error)))


def without_omnibox_popups() -> str:
    """Return the flag against two hidden pages in each window, which cost more than a page of a test.

    Chromium reads only the last list of features, so the list of Playwright stands here, too.
    """
    driver = Path(package.__file__).with_name("driver") / "package" / "lib" / "coreBundle.js"
    own = re.search(r"disabledFeatures = \[(.*?)\]", driver.read_text(), re.DOTALL)
    assert own, f"{driver} has another form"
    features = re.findall(r'^\s*"(\w+)"', own[1], re.MULTILINE)
    return "--disable-features=" + ",".join([*features, "WebUIOmniboxPopup", "WebUIOmniboxAimPopup"])
