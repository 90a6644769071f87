from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package", autouse=True)
def databases_of_servers(django_db_blocker: Any) -> Iterator[None]:
    """Allow writes outside a test's transaction, because servers must see the rows."""
    with django_db_blocker.unblock():
        yield
