from __future__ import annotations

from tests.front.conftest import database, pattern, people  # noqa: F401
from tests.front.test_same_as_view import cookies, loads_on_the_loop, worker  # noqa: F401
