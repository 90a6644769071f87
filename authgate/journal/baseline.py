"""The first entries of the journal, and entries for changes that were made while triggers were missing."""

from __future__ import annotations

import json

from django.db import connections, transaction
from django.db.models import Max
from django.utils import timezone

from authgate.journal.states import defaults_of
from authgate.journal.tables import ENTRIES, TABLES, Table
from authgate.journal.triggers_of_vendors import NOW_ON_SQLITE, about, row_on_postgresql, row_on_sqlite
from authgate.models import JournalEntry, JournalGap


def open_gap(using: str) -> None:
    """Open a gap: triggers are missing from now on, until `catch_up` runs."""
    if JournalEntry.objects.using(using).exists():
        JournalGap.objects.using(using).get_or_create(
            reason=JournalGap.MIGRATION, until=None, defaults={"since": timezone.now()}
        )


def catch_up(using: str, *, were_triggers_missing: bool) -> None:
    """Write an entry for each row that differs from its last entry in the journal.

    If rows differ and triggers were missing, the state in that period is not known.
    """
    entries, gaps = JournalEntry.objects.using(using), JournalGap.objects.using(using)
    with transaction.atomic(using):
        newest = entries.aggregate(newest=Max("at"))["newest"]
        differing = [_catch_up_table(using, table, is_first=newest is None) for table in TABLES]
        now = timezone.now()
        if newest is None:
            gaps.create(since=None, until=now, reason=JournalGap.BEGINNING)
        elif not any(differing):
            gaps.filter(until=None).delete()
        elif not gaps.filter(until=None).update(until=now) and were_triggers_missing:
            gaps.create(since=newest, until=now, reason=JournalGap.MIGRATION)


def _catch_up_table(using: str, table: Table, *, is_first: bool) -> int:
    """Write the entries for a table, and return their number."""
    vendor = connections[using].vendor
    is_sqlite = vendor == "sqlite"
    row = (row_on_sqlite if is_sqlite else row_on_postgresql)(table, "t")
    now = NOW_ON_SQLITE if is_sqlite else "clock_timestamp()"
    first = ("1" if is_sqlite else "true") if is_first else ("0" if is_sqlite else "false")
    last = (
        f"SELECT e.* FROM {ENTRIES} e JOIN (SELECT max(id) AS newest FROM {ENTRIES} "  # noqa: S608
        f"WHERE table_name = '{table.name}' GROUP BY key) n ON n.newest = e.id WHERE e.after IS NOT NULL"
    )
    into = (
        f"INSERT INTO {ENTRIES} "
        "(at, change, actor, table_name, key, before, after, person, team, application, is_baseline) "
    )
    changed = (
        f"SELECT {now}, NULL, '', '{table.name}', t.{table.key}, l.after, {row}, "  # noqa: S608
        f"{about(table, 't')}, {first} FROM {table.name} t LEFT JOIN ({last}) l ON l.key = t.{table.key} "
        f"WHERE l.id IS NULL OR {_differs(table, row, is_sqlite)} ORDER BY t.{table.key}"
    )
    gone = (
        f"SELECT {now}, NULL, '', l.table_name, l.key, l.after, NULL, l.person, l.team, "  # noqa: S608
        f"l.application, {first} FROM ({last}) l LEFT JOIN {table.name} t ON t.{table.key} = l.key "
        f"WHERE t.{table.key} IS NULL ORDER BY l.id"
    )
    with connections[using].cursor() as cursor:
        written = 0
        for statement in (changed, gone):
            cursor.execute(into + statement)
            written += cursor.rowcount
    return written


def _differs(table: Table, row: str, is_sqlite: bool) -> str:
    """Return SQL for "the journal's last row `l` differs from the row `t`".

    If the entry lacks a column, its value was the default.
    """
    defaults = json.dumps(defaults_of(table.name)).replace("'", "''")
    if not is_sqlite:
        return f"('{defaults}'::jsonb || l.after) IS DISTINCT FROM {row}"
    last = f"json_patch('{defaults}', l.after)"
    each = (f"json_extract({last}, '$.{column}') IS NOT t.\"{column}\"" for column in table.columns)
    return " OR ".join(each)


def has_new_columns(using: str) -> bool:
    """Return whether a table has columns that its newest entry lacks."""
    for table in TABLES:
        entries = JournalEntry.objects.using(using).filter(table_name=table.name, after__isnull=False)
        newest = entries.order_by("-pk").first()
        if newest is not None and not set(table.columns) <= set(newest.after or ()):
            return True
    return False
