"""The undo of a change: write the rows as they were before it, if no later change depends on it.

The caller tests the permissions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import ForeignKey

from authgate.journal.states import Row, model_of, typed
from authgate.journal.tables import BY_NAME, TABLES, Table
from authgate.models import JournalEntry

MOST_ENTRIES = 500
LOCKS = ("locked_at", "locked_down_at")
"""Columns that only a lockdown or a lock sets. Each has its own undo, with its own rules."""

LATER = "later"
BASELINE = "baseline"
TOO_LARGE = "too large"
NOTHING = "nothing"
GONE = "gone"
DIFFERS = "differs"
LOCKED = "locked"
NO_SUPERUSER = "no superuser"
REFUSED = "refused"
LOCK_OF_UNDO = 0x6A6F75726E616C
"""The number of the PostgreSQL advisory lock that allows only one undo at a time."""


class CannotUndo(Exception):
    """A change cannot be undone. `later` is the change that depends on it; `said` is a sentence for users."""

    def __init__(self, reason: str, later: JournalEntry | None = None, said: str = "") -> None:
        super().__init__(reason)
        self.reason, self.later, self.said = reason, later, said


@dataclass(frozen=True, slots=True)
class Step:
    """A row to write. `now` is its present content, `then` its new content; None means no row."""

    table: Table
    key: int
    now: Row | None
    then: Row | None

    @property
    def columns(self) -> list[tuple[str, Any, Any]]:
        """Return the columns that differ, with both values."""
        now, then = self.now or {}, self.then or {}
        every = ((name, now.get(name), then.get(name)) for name in self.table.columns)
        return [each for each in every if each[1] != each[2]]


Check = Callable[[Row], None]
_checks: dict[str, Check] = {}


def register_check(table: str, check: Check) -> None:
    """Register a function that raises ValidationError for a row that a form would refuse."""
    _checks[table] = check


# ---- the steps --------------------------------------------------------------------------------------------


def change_of(entry: JournalEntry) -> list[JournalEntry]:
    """Return all entries of the change to which an entry belongs, oldest first."""
    if entry.change is None:
        return [entry]
    found = JournalEntry.objects.filter(change=entry.change, is_baseline=False).order_by("pk")
    return list(found[: MOST_ENTRIES + 1])


def steps_for(entries: list[JournalEntry]) -> list[Step]:
    """Return the steps that undo a change, in the order of writing. Raises CannotUndo."""
    if any(entry.is_baseline for entry in entries):
        raise CannotUndo(BASELINE)
    if len(entries) > MOST_ENTRIES:
        raise CannotUndo(TOO_LARGE)
    by_row: dict[tuple[str, int], list[JournalEntry]] = {}
    for entry in entries:
        by_row.setdefault((entry.table_name, entry.key), []).append(entry)
    steps = [_step(*row, found[0].before, found[-1].after) for row, found in by_row.items()]
    steps = [step for step in steps if step.now != step.then]
    if not steps:
        raise CannotUndo(NOTHING)
    for (table, key), found in by_row.items():
        newest = _entries_of(table, key).first()
        if newest is not None and newest.pk > found[-1].pk:
            raise CannotUndo(LATER, newest)
    if any(name in LOCKS and step.now and step.then for step in steps for name, *_ in step.columns):
        raise CannotUndo(LOCKED)
    for step in steps:
        _require_independence(step, steps)
    return sorted(steps, key=_order)


def _step(table: str, key: int, before: Row | None, after: Row | None) -> Step:
    described = BY_NAME[table]
    now = typed(described, after) if after is not None else None
    return Step(described, key, now, typed(described, before) if before is not None else None)


def _entries_of(table: str, key: int) -> Any:
    return JournalEntry.objects.filter(table_name=table, key=key).order_by("-pk")


def _order(step: Step) -> tuple[int, int]:
    """Return the sort key of a step.

    First, delete rows to which no others refer. Then update, then delete the other rows, then create.
    """
    place = TABLES.index(step.table)
    if step.now is not None and step.then is not None:
        return 1, place
    if step.then is None:
        return (2 if _is_parent(step.table.name) else 0), -place
    return 3, place


# ---- dependencies -----------------------------------------------------------------------------------------


def references(table: str) -> list[tuple[str, str]]:
    """Return the columns of a table that refer to other tables, each with that table."""
    fields = model_of(table)._meta.concrete_fields
    found = ((str(field.column), field) for field in fields if isinstance(field, ForeignKey))
    return [
        (column, str(field.remote_field.model._meta.db_table))
        for column, field in found
        if column in BY_NAME[table].columns
    ]


def _is_parent(table: str) -> bool:
    return any(table == other for each in TABLES for _, other in references(each.name))


def _require_independence(step: Step, steps: Iterable[Step]) -> None:
    """Raise CannotUndo if a step's row needs a missing row, or if a remaining row needs a deleted row."""
    if step.then is not None:
        for column, other in references(step.table.name):
            _require_row(other, step.then[column], steps)
        return
    gone = {(each.table.name, each.key) for each in steps if each.then is None}
    moved = {(each.table.name, each.key) for each in steps if each.now and each.then}
    for table in TABLES:
        for column, other in references(table.name):
            if other != step.table.name:
                continue
            keys = (
                model_of(table.name)._base_manager.filter(**{column: step.key}).values_list("pk", flat=True)
            )
            staying = [key for key in keys if {(table.name, key)}.isdisjoint(gone | moved)]
            if staying:
                raise CannotUndo(LATER, _entries_of(table.name, staying[0]).first())


def _require_row(table: str, key: int | None, steps: Iterable[Step]) -> None:
    created = any((each.table.name, each.key) == (table, key) and each.then for each in steps)
    if key is None or created or model_of(table)._base_manager.filter(pk=key).exists():
        return
    later = _entries_of(table, key).first() if table in BY_NAME else None
    raise CannotUndo(LATER if later else GONE, later)


# ---- writing ----------------------------------------------------------------------------------------------


def lock(steps: Iterable[Step]) -> None:
    """Lock the rows, so that no other transaction can change them until this one ends."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_OF_UNDO])
    for step in steps:
        rows = model_of(step.table.name)._base_manager.select_for_update().filter(pk=step.key)
        list(rows.values_list("pk"))


def take_back(steps: list[Step]) -> None:
    """Write the rows as they were before a change. The caller has locked them in a transaction.

    Raises CannotUndo. A restored user has no password. The step decides whether the user is active.
    """
    able = _superusers()
    for step in steps:
        _require(step, step.now)
    for step in steps:
        _write(step)
    _validate(steps)
    for step in steps:
        _require(step, step.then)
    if able and not _superusers():
        raise CannotUndo(NO_SUPERUSER)


def _superusers() -> list[int]:
    """Lock and return the superusers who can sign in."""
    users = get_user_model()._default_manager.filter(is_active=True, is_staff=True, is_superuser=True)
    return list(users.order_by("pk").select_for_update().values_list("pk", flat=True))


def _require(step: Step, wanted: Row | None) -> None:
    """Raise CannotUndo unless the row's values equal `wanted` exactly, including letter case."""
    rows = model_of(step.table.name)._base_manager.filter(pk=step.key)
    name = _attribute(step)
    found = next(iter(rows.values(*map(name, step.table.columns))), None)
    known = wanted if wanted is not None else step.table.columns
    if (found and {column: found[name(column)] for column in known}) != wanted:
        raise CannotUndo(DIFFERS)


def _attribute(step: Step) -> Callable[[str], str]:
    names = {str(field.column): field.attname for field in model_of(step.table.name)._meta.concrete_fields}
    return names.__getitem__


def _write(step: Step) -> None:
    model, name = model_of(step.table.name), _attribute(step)
    if step.then is None:
        model._base_manager.get(pk=step.key).delete()
    elif step.now is None:
        row = model(**{name(column): value for column, value in step.then.items()})
        if isinstance(row, get_user_model()):
            row.set_unusable_password()
        model._default_manager.bulk_create([row])
    else:
        changed = {name(column): then for column, _, then in step.columns}
        row = model._base_manager.get(pk=step.key)
        for attribute, value in changed.items():
            setattr(row, attribute, value)
        # Write only the changed columns, but through the model: a user's new name also changes the skeleton.
        row.save(update_fields=list(changed))


def _validate(steps: Iterable[Step]) -> None:
    """Raise CannotUndo for a row that a form would refuse now, for example because its name is taken."""
    for step in steps:
        if step.then is None or model_of(step.table.name)._meta.auto_created:
            continue
        row = model_of(step.table.name)._base_manager.get(pk=step.key)
        left_out = {field.name for field in row._meta.fields if field.column not in step.table.columns}
        try:
            row.full_clean(exclude=left_out)
            if step.table.name in _checks:
                _checks[step.table.name](step.then)
        except ValidationError as problem:
            raise CannotUndo(REFUSED, said=" ".join(problem.messages)) from None
