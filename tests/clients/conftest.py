from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package", autouse=True)
def databases_of_servers(django_db_blocker: Any) -> Iterator[None]:
    """What stands here writes to databases that servers read too, so no test's transaction may hide it."""
    with django_db_blocker.unblock():
        yield
