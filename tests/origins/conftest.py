from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.chromium import launch, launch_whole

RESOLVER = "--host-resolver-rules=MAP * 127.0.0.1"


@pytest.fixture(scope="package", autouse=True)
def databases_of_our_own(django_db_blocker: Any) -> Iterator[None]:
    """What stands here writes to databases that servers read too, so no test's transaction may hide it."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """A Chromium that finds every name on this machine."""
    browser = launch(playwright, RESOLVER)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def whole_chromium(playwright: Playwright) -> Iterator[Browser]:
    """The same with the policy of the whole browser for cookies and requests between sites."""
    browser = launch_whole(playwright, RESOLVER)
    yield browser
    browser.close()
