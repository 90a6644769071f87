"""Chromium without a window: Debian's build, which loads a page in a third less time, or the full browser."""

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
    "--renderer-process-limit=1",  # pages of one site share a process and its compiled scripts
]

FOCUSED_ALREADY = "Autofocus processing was blocked because a document already has a focused element"
"""On a slow machine, the driver can focus a field before the browser does."""

# Playwright keeps an event loop in this thread. Django would take it for asynchronous code of the portal.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


def whole_browser() -> str:
    """Return the path of the full browser, which has profiles, settings and policies."""
    return binary("chromium", "chromium")


def launch(playwright: Playwright, *flags: str) -> Browser:
    program = found("chromium-headless-shell") or whole_browser()
    return playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])


def launch_whole(playwright: Playwright, *flags: str) -> Browser:
    args = [*FLAGS, without_omnibox_popups(), *flags]
    return playwright.chromium.launch(executable_path=whole_browser(), args=args)


def listen_to_console(page: Page, console: list[str]) -> None:
    """Collect the warnings and errors in the browser's console for a page."""

    def heard(message: ConsoleMessage) -> None:
        if not message.text.startswith(FOCUSED_ALREADY):
            console.append(f"{message.text} at {message.location.get('url')}")

    page.on("console", heard)
    page.on("pageerror", lambda error: console.append(str(error)))


def without_omnibox_popups() -> str:
    """Return the flag that prevents two hidden pages per window: they cost more time than a test's page.

    Chromium reads only the last list of features, so this one includes Playwright's list.
    """
    driver = Path(package.__file__).with_name("driver") / "package" / "lib" / "coreBundle.js"
    own = re.search(r"disabledFeatures = \[(.*?)\]", driver.read_text(), re.DOTALL)
    assert own, f"{driver} has another form"
    features = re.findall(r'^\s*"(\w+)"', own[1], re.MULTILINE)
    return "--disable-features=" + ",".join([*features, "WebUIOmniboxPopup", "WebUIOmniboxAimPopup"])
