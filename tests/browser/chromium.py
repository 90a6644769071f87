"""Chromium without a window: a build of Debian that takes a third less time for a page, or the browser."""

from __future__ import annotations

import os

from playwright.sync_api import Browser, Playwright

from tests.proxies.processes import binary, found

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


def whole_browser() -> str:
    """Return the path of the browser that people use: with profiles, their settings and its own policies."""
    return binary("chromium", "chromium")


def launch(playwright: Playwright, *flags: str) -> Browser:
    program = found("chromium-headless-shell") or whole_browser()
    return playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])


def launch_whole(playwright: Playwright, *flags: str) -> Browser:
    return playwright.chromium.launch(executable_path=whole_browser(), args=[*FLAGS, *flags])
