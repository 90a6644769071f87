"""Query plans of the database."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext


def plan_of(ask: Callable[[], object], model: type[Model]) -> str:
    """Return the plan of the only query of `ask`.

    PostgreSQL plans with statistics, which depend on whether autovacuum ran after earlier tests. So the table
    is analyzed first. A test that names an index must write enough rows for that index to be the best.
    """
    with CaptureQueriesContext(connection) as asked:
        ask()
    [query] = asked.captured_queries
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")
        cursor.execute(f"{connection.ops.explain_query_prefix()} {query['sql']}")
        return "\n".join(str(row) for row in cursor.fetchall())
