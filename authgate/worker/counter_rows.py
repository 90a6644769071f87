"""Tables of counters: add numbers to rows or create the rows, a hundred in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import connection, transaction
from django.db.models import Model

ROWS_A_STATEMENT = 100


@dataclass(frozen=True, slots=True)
class CounterRows:
    """A table of counters. `identity` names the columns that are unique together, with the day first."""

    model: type[Model]
    identity: tuple[str, ...]
    numbers: tuple[str, ...]

    def add(self, rows: Mapping[tuple[date, *tuple[Any, ...]], Sequence[int]]) -> None:
        """Add numbers to rows, all or none. The rows are sorted, so that two processes never deadlock."""
        ordered = sorted(rows.items(), key=lambda row: row[0])
        with transaction.atomic(), connection.cursor() as cursor:
            for start in range(0, len(ordered), ROWS_A_STATEMENT):
                self._add(cursor, ordered[start : start + ROWS_A_STATEMENT])

    def _add(self, cursor: Any, rows: list[tuple[tuple[Any, ...], Sequence[int]]]) -> None:
        table = self.model._meta.db_table
        columns = (*self.identity, *self.numbers)
        places = f"({', '.join(['%s'] * len(columns))})"
        added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in self.numbers)
        values: list[Any] = []
        for (day, *others), numbers in rows:
            values += [connection.ops.adapt_datefield_value(day), *others, *numbers]
        into, conflict = f"INSERT INTO {table} ({', '.join(columns)})", ", ".join(self.identity)
        lines = ", ".join([places] * len(rows))
        cursor.execute(f"{into} VALUES {lines} ON CONFLICT ({conflict}) DO UPDATE SET {added}", values)
