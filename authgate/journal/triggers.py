"""Database triggers that write the journal in the transaction of each change, for every author.

Other triggers refuse to change the journal. They also refuse to delete from it outside of `passing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connections, transaction

from authgate.database_triggers import installed
from authgate.journal import baseline
from authgate.journal.tables import CONTEXT, ENTRIES, GAPS, TABLES, Table
from authgate.journal.triggers_of_vendors import GUARDS, NOTE, for_postgresql, for_sqlite

EVENTS = ("insert", "update", "delete")
PASS = 2
"""The id of the context row that permits deletions, on SQLite."""


def install(using: str = "default") -> None:
    """Recreate every trigger. If some were missing, write entries for the changes made without them.

    The first call writes an entry for every row: the state from which the journal begins.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        present = set(connection.introspection.table_names(cursor))
    if not present.issuperset({ENTRIES, CONTEXT, GAPS, *(table.name for table in TABLES)}):
        return
    if not _has_columns(using):
        return
    lacking = missing(using)
    with transaction.atomic(using), connection.cursor() as cursor:
        statements = for_sqlite if connection.vendor == "sqlite" else for_postgresql
        if connection.vendor == "postgresql":
            cursor.execute(NOTE)
        for statement in (
            *GUARDS[connection.vendor],
            *(sql for table in TABLES for sql in statements(table)),
        ):
            cursor.execute(statement)
        if lacking or baseline.has_new_columns(using):
            baseline.catch_up(using, were_triggers_missing=bool(lacking))


def _has_columns(using: str) -> bool:
    """Return whether the tables have all columns. During backwards migrations, columns may be missing."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table.name} LIMIT 0")  # noqa: S608
            if not {column[0] for column in cursor.description}.issuperset(table.columns):
                return False
    return True


def drop_before_migration(using: str, plan: Sequence[tuple[object, bool]]) -> None:
    """Drop the triggers before a migration that they would block, and open a gap in the journal."""
    connection = connections[using]
    if not any(backwards or connection.vendor == "sqlite" for _, backwards in plan):
        return
    with transaction.atomic(using), connection.cursor() as cursor:
        present = set(connection.introspection.table_names(cursor))
        if ENTRIES not in present or missing(using):
            return
        for table in (*TABLES, None):
            name = table.name if table else ENTRIES
            for trigger in trigger_names(table, connection.vendor):
                on = f" ON {name}" if connection.vendor == "postgresql" else ""
                cursor.execute(f"DROP TRIGGER IF EXISTS {trigger}{on}")
        baseline.open_gap(using)


def trigger_names(table: Table | None, vendor: str) -> list[str]:
    """Return the names of a table's triggers; for None, of the triggers that protect the journal."""
    if table is None:
        return ["journal_never_changes", "journal_only_grows"] + ["journal_stays"] * (vendor == "postgresql")
    events = (*EVENTS, "truncate") if vendor == "postgresql" else EVENTS
    return [f"journal_{table.name}_{event}" for event in events]


def missing(using: str = "default") -> set[str]:
    """Return the names of triggers that the database lacks."""
    vendor = connections[using].vendor
    wanted = {name for table in (*TABLES, None) for name in trigger_names(table, vendor)}
    return wanted - installed(using)


@contextmanager
def passing(using: str = "default") -> Iterator[None]:
    """Allow deletions from the journal in the `with` block. Only for retention and copies of databases."""
    connection = connections[using]
    is_sqlite = connection.vendor == "sqlite"
    with transaction.atomic(using), connection.cursor() as cursor:
        if is_sqlite:
            cursor.execute(f"INSERT OR REPLACE INTO {CONTEXT} (id, actor) VALUES ({PASS}, '')")  # noqa: S608
        else:
            cursor.execute("SELECT set_config('ikd.journal_pass', 'on', true)")
        yield
        if is_sqlite:
            cursor.execute(f"DELETE FROM {CONTEXT} WHERE id = {PASS}")  # noqa: S608
        else:
            cursor.execute("SELECT set_config('ikd.journal_pass', '', true)")
