from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright

from tests.browser.chromium import launch_whole
from tests.browser.driver import Driver

RESOLVER = "--host-resolver-rules=MAP * 127.0.0.1"


@pytest.fixture(scope="package", autouse=True)
def databases_of_servers(django_db_blocker: Any) -> Iterator[None]:
    """Use no transaction: these tests write to databases that servers read too."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright) -> Browser:
    """A Chromium that finds every name on this machine."""
    return driver.browser(RESOLVER)


@pytest.fixture(scope="module")
def whole_chromium(playwright: Playwright) -> Iterator[Browser]:
    """The same, with the full browser's policy for cookies and requests between sites."""
    browser = launch_whole(playwright, RESOLVER)
    yield browser
    browser.close()
