"""Databases of both kinds, and nothing left of what other tests counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from authgate.worker.usage import usage
from authgate.worker.write_behind import writer
from tests.admin.conftest import browser_of, carols  # noqa: F401
from tests.authgate.conftest import wiki  # noqa: F401
from tests.feed.conftest import cluster, database, people, vendor  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    """Let no test find what another's checks left behind."""
    usage.clear()
    writer.clear()
    yield
    usage.clear()
