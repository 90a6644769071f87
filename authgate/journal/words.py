"""Texts of journal entries in the reader's language, with the names of their objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import Permission
from django.db.models import Max
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from authgate.journal.actor import THE_PORTAL
from authgate.journal.states import Row, model_of, typed
from authgate.journal.tables import BY_NAME, MOMENT, TRUTH
from authgate.journal.undo import Step, references
from authgate.models import JournalEntry
from authgate.permission_words import permission_in_words

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

LABELS: dict[str, _StrPromise] = {
    "accounts_user": _("user"),
    "account_emailaddress": _("e-mail address"),
    "auth_group": _("group"),
    "accounts_strictgroup": _("second factor required in a group"),
    "auth_group_permissions": _("permission of a group"),
    "accounts_user_groups": _("group membership"),
    "accounts_user_user_permissions": _("permission of a user"),
    "authgate_application": _("application"),
    "authgate_application_named_groups": _("group sent to an application"),
    "authgate_application_owners": _("owner of an application"),
    "authgate_application_owner_groups": _("owner group of an application"),
    "authgate_origin": _("origin"),
    "authgate_rule": _("rule"),
    "authgate_rule_groups": _("group of a rule"),
    "authgate_rule_users": _("user of a rule"),
}
"""The kind of object that a row of each table is."""

NAMES = {
    "accounts_user": "username",
    "account_emailaddress": "email",
    "auth_group": "name",
    "authgate_application": "name",
    "authgate_origin": "value",
    "authgate_rule": "path",
}
"""The column that contains the name of a row, by table."""

LONGEST = 200


def verb_of(before: Row | None, after: Row | None) -> str:
    if before is None:
        return gettext("added")
    return gettext("deleted") if after is None else gettext("changed")


def actor_words(actor: str) -> str:
    """Return the author of a change."""
    if not actor:
        return gettext("outside of the portal")
    return gettext("the portal") if actor == THE_PORTAL else actor


class Names:
    """Names of the objects to which rows refer, including deleted objects. A few queries load them all."""

    def __init__(self, rows: Iterable[tuple[str, Row]]) -> None:
        self._names: dict[tuple[str, int], str] = {}
        wanted: dict[str, set[int]] = {}
        for table, row in rows:
            for column, other in references(table):
                if row.get(column) is not None:
                    wanted.setdefault(other, set()).add(row[column])
        for table, keys in wanted.items():
            self._look_up(table, keys)

    def _look_up(self, table: str, keys: set[int]) -> None:
        if table == Permission._meta.db_table:
            found = Permission.objects.filter(pk__in=keys).select_related("content_type")
            self._names |= {(table, each.pk): permission_in_words(each) for each in found}
            return
        entries = JournalEntry.objects.order_by()
        of_each = entries.filter(table_name=table, key__in=keys).values("key").annotate(newest=Max("pk"))
        for entry in entries.filter(pk__in=of_each.values("newest")):
            name = (entry.after or entry.before or {}).get(NAMES.get(table, ""), entry.key)
            self._names[table, entry.key] = str(name)

    def of(self, table: str, row: Row) -> str:
        """Return the name of a row, or of the rows that it connects."""
        if table in NAMES:
            return str(row.get(NAMES[table], ""))[:LONGEST]
        parts = [self.name(other, row.get(column)) for column, other in references(table)]
        return " · ".join(parts)[:LONGEST]

    def name(self, table: str, key: int | None) -> str:
        return "-" if key is None else self._names.get((table, key), f"#{key}")


def names_for(entries: Iterable[JournalEntry]) -> Names:
    return Names((entry.table_name, entry.after or entry.before or {}) for entry in entries)


def label_of_column(table: str, column: str) -> str:
    """Return the label of a column. For the columns of automatic tables, Django has English labels only."""
    model = model_of(table)
    field = next(field for field in model._meta.concrete_fields if field.column == column)
    if model._meta.auto_created and field.related_model is not None:
        return str(field.related_model._meta.verbose_name)
    return str(field.verbose_name)


def value_words(table: str, column: str, value: Any, names: Names) -> str:
    """Return a value as forms show it."""
    if value is None or value == "":
        return gettext("empty")
    kind = BY_NAME[table].columns[column]
    if kind == TRUTH:
        return gettext("Yes") if value else gettext("No")
    if kind == MOMENT:
        return date_format(localtime(value), "DATETIME_FORMAT")
    other = dict(references(table)).get(column)
    if other is not None:
        return names.name(other, value)
    field = next(field for field in model_of(table)._meta.concrete_fields if field.column == column)
    return str(dict(field.flatchoices).get(value, value))


def columns_of(table: str, before: Row | None, after: Row | None, names: Names) -> list[tuple[str, str, str]]:
    """Return the label of each column that differs, with both values. A missing row has empty values."""
    described = BY_NAME[table]
    step = Step(described, 0, typed(described, before or {}), typed(described, after or {}))
    return [
        (
            label_of_column(table, column),
            value_words(table, column, old, names) if before is not None else "",
            value_words(table, column, new, names) if after is not None else "",
        )
        for column, old, new in step.columns
        if column != described.key
    ]
