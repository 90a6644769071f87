"""Databases of both kinds, without counts of other tests."""

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
    """Remove the counts of other tests' checks."""
    usage.clear()
    writer.clear()
    yield
    usage.clear()
