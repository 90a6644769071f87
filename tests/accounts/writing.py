"""The database writes of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

MAY_BE_WRITTEN = re.compile(
    "ikd_cache|accounts_portalsession|authgate_(signin|auditevent|refusal|change)|django_admin_log"
)
"""Tables that any request may write to, whatever it contains."""


@contextmanager
def nothing_written_if(is_refused: Callable[[], bool]) -> Iterator[None]:
    """Assert that a refused request writes nothing except sessions, counters and events."""
    written_to = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        found = re.match(r'(?:INSERT INTO|UPDATE|DELETE FROM) "?(\w+)', sql)
        if found and not MAY_BE_WRITTEN.match(found[1]) and context["cursor"].rowcount:
            written_to.append(sql[:200])
        return result

    with connection.execute_wrapper(look):
        yield
    assert not (is_refused() and written_to), written_to
