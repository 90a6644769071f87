from __future__ import annotations

from tests.feed.conftest import cluster  # noqa: F401
from tests.front.conftest import database, pattern, people, portal  # noqa: F401
