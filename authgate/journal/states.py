"""The rows of tables at a moment, rebuilt from the journal."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.apps import apps
from django.db.models import Max, Model

from authgate.journal.tables import BY_NAME, MOMENT, TRUTH, UUID, Table
from authgate.models import JournalEntry

Row = dict[str, Any]
TICK = timedelta(microseconds=1)


def rows_at(at: datetime, table: str, **about: int) -> list[Row]:
    """Return the rows of a table at a moment, as dicts by column. One query, combined from two.

    `about` limits them to rows that at any time concerned a person, a team or an application.
    """
    entries = JournalEntry.objects.order_by().filter(table_name=table)
    known = entries.filter(at__lt=at + TICK)
    if about:
        known = known.filter(key__in=entries.filter(**about).values("key"))
    newest = known.values("key").annotate(newest=Max("pk")).values("newest")
    found = JournalEntry.objects.order_by().filter(pk__in=newest, after__isnull=False)
    described, defaults = BY_NAME[table], defaults_of(table)
    afters = found.values_list("after", flat=True)
    return [typed(described, defaults | after) for after in afters if after is not None]


def typed(table: Table, row: Row) -> Row:
    """Return a row of the journal with the types of values that models use.

    Columns that the table did not have yet are missing.
    """
    return {column: value_of(kind, row[column]) for column, kind in table.columns.items() if column in row}


@cache
def model_of(table: str) -> type[Model]:
    """Return the model of a table in the journal."""
    every = apps.get_models(include_auto_created=True)
    return next(model for model in every if model._meta.db_table == table and not model._meta.proxy)


@cache
def defaults_of(table: str) -> Row:
    """Return the defaults of a table's columns, for rows that are older than the column."""
    fields = {str(field.column): field for field in model_of(table)._meta.concrete_fields}
    return {
        column: fields[column].get_default()
        for column in BY_NAME[table].columns
        if not (fields[column].has_default() and callable(fields[column].default))
        and not fields[column].primary_key
    }


def value_of(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == TRUTH:
        return bool(value)
    if kind == MOMENT:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return uuid.UUID(value) if kind == UUID else value
