from __future__ import annotations

import pytest
from django.core.cache import cache

from tests.accounts.conftest import client, other_browser
from tests.admin.conftest import browser_of, carols, sam, sams

__all__ = ["browser_of", "carols", "client", "other_browser", "sam", "sams"]


@pytest.fixture(autouse=True)
def nothing_counted(request: pytest.FixtureRequest) -> None:
    if "db" in request.fixturenames:
        request.getfixturevalue("db")
        cache.clear()
