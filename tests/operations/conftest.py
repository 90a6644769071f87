from __future__ import annotations

from tests.front.conftest import database, pattern, people  # noqa: F401
