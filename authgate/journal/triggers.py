"""Database triggers that write the journal, in the transaction of each change and whoever makes it.

Other triggers refuse to alter the journal, and to delete from it without the pass that `passing` gives.
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
"""The row of the context that allows to delete, on SQLite."""


def install(using: str = "default") -> None:
    """Create every trigger again. If some were missing, journal what changed without them.

    The first time that is every row: the state from which the journal begins.
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
    """Return whether the tables have all columns. While migrations go backwards, they may not."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table.name} LIMIT 0")  # noqa: S608
            if not {column[0] for column in cursor.description}.issuperset(table.columns):
                return False
    return True


def drop_before_migration(using: str, plan: Sequence[tuple[object, bool]]) -> None:
    """Drop the triggers before a migration that they would stand in the way of, and note the moment."""
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
    """Return the triggers of a table; those that guard the journal for None."""
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
    """Let this transaction delete from the journal. Only retention and copies of databases may."""
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
