"""Playwright's driver and its browsers, started once per process for all modules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.chromium import launch


class Driver:
    """A driver with an event loop in this thread. Other code can run event loops while it is not at work."""

    def __init__(self) -> None:
        self._playwright = sync_playwright().start()
        self._loop = asyncio.get_running_loop()
        self._browsers: dict[tuple[str, ...], Browser] = {}
        asyncio._set_running_loop(None)

    @contextmanager
    def at_work(self) -> Iterator[Playwright]:
        asyncio._set_running_loop(self._loop)
        try:
            yield self._playwright
        finally:
            asyncio._set_running_loop(None)

    def browser(self, *flags: str) -> Browser:
        """Return the browser with these flags, with the driver at work. Callers must close their contexts."""
        if flags not in self._browsers:
            self._browsers[flags] = launch(self._playwright, *flags)
        return self._browsers[flags]

    def stop(self) -> None:
        with self.at_work():
            for each in self._browsers.values():
                each.close()
            self._playwright.stop()
