"""Changes that a file makes, for the plan and for audit events like those of the admin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model
from django.utils.translation import override

from authgate.admin.field_changes import LONGEST_VALUE, MOST_NAMES
from authgate.audit import record
from ikd_portal.configuration_file.schema import Value

ADDED, CHANGED, DELETED = "added", "changed", "deleted"
SIGNS = {ADDED: "+", CHANGED: "~", DELETED: "-"}

ACTOR = "manage.py"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field with its old and new value. For a secret, both are None."""

    name: str
    label: str
    before: Value = None
    after: Value = None
    is_secret: bool = False

    def for_event(self) -> dict[str, Any]:
        """Return the change in the form of an audit event."""
        with override(None):  # untranslated labels, which are the keys of translations
            values: dict[str, Any] = {"field": self.name, "label": str(self.label)}
        if self.is_secret:
            return values
        if isinstance(self.before, list) and isinstance(self.after, list):
            added = [each for each in self.after if each not in self.before]
            removed = [each for each in self.before if each not in self.after]
            return values | {"added": _shortened(added), "removed": _shortened(removed)}
        return values | {"old": _short(self.before), "new": _short(self.after)}

    def for_plan(self) -> str:
        if self.is_secret:
            return f"{self.name}: replaced"
        return f"{self.name}: {_as_json(self.before)} → {_as_json(self.after)}"


@dataclass(frozen=True, slots=True)
class RowChange:
    """An added, changed or deleted origin, rule or mapping. `values` leaves out defaults."""

    how: str
    model: type[Model]
    text: str
    values: dict[str, Value] = field(default_factory=dict)
    fields: tuple[FieldChange, ...] = ()

    def for_event(self) -> dict[str, Any]:
        fields = [each.for_event() for each in self.fields]
        label = self.model._meta.label_lower
        return {"row": self.text[:LONGEST_VALUE], "model": label, "how": self.how, "fields": fields}

    def for_plan(self) -> Iterator[str]:
        shown = ", ".join(f"{name}: {_as_json(value)}" for name, value in self.values.items())
        yield f"{SIGNS[self.how]} {self.model._meta.model_name} {shown or self.text}"
        for each in self.fields:
            yield f"    {each.for_plan()}"


@dataclass(slots=True)
class Change:
    """An added, changed or deleted object of the file."""

    how: str
    kind: str
    name: str
    row: Model
    key: int
    fields: list[FieldChange] = field(default_factory=list)
    rows: list[RowChange] = field(default_factory=list)
    secrets_added: int = 0
    secrets_deleted: int = 0

    @property
    def is_empty(self) -> bool:
        parts = (self.fields, self.rows, self.secrets_added, self.secrets_deleted)
        return self.how == CHANGED and not any(parts)

    def for_plan(self) -> Iterator[str]:
        """Yield the lines of the plan."""
        yield f"{SIGNS[self.how]} {self.kind} {self.name}"
        for each in self.fields:
            yield f"    {each.for_plan()}"
        for row in self.rows:
            for line in row.for_plan():
                yield f"    {line}"
        for sign, count in (("+", self.secrets_added), ("-", self.secrets_deleted)):
            if count:
                yield f"    {sign} secrets: {count}"

    def record(self) -> None:
        """Write the audit events that the admin's forms would write."""
        values = [each.for_event() for each in self.fields] + [row.for_event() for row in self.rows]
        details: dict[str, Any] = {"object": _label(self.row), "key": self.key, "changes": self._message()}
        if values and self.how == CHANGED:
            details["values"] = values
        if self.how != CHANGED or values:
            record(self.how, actor=ACTOR, subject=str(self.row), details=details)
        plain = {"object": _label(self.row), "key": self.key, "changes": []}
        for _each in range(self.secrets_added):
            record("openid_secret_made", actor=ACTOR, subject=self.name, details=plain)
        for _each in range(self.secrets_deleted):
            record("openid_secret_deleted", actor=ACTOR, subject=self.name, details=plain)

    def _message(self) -> list[dict[str, Any]]:
        """Return the change in the format of Django's log messages: names of fields and rows."""
        if self.how == DELETED:
            return []
        with override(None):
            fields = [str(each.label) for each in self.fields]
            own: list[dict[str, Any]] = [{"added": {}}] if self.how == ADDED else []
            if fields and self.how == CHANGED:
                own.append({"changed": {"fields": fields}})
            for row in self.rows:
                values: dict[str, Any] = {"name": str(row.model._meta.verbose_name), "object": row.text}
                if row.how == CHANGED:
                    values["fields"] = [str(each.label) for each in row.fields]
                own.append({row.how: values})
        return own


def _label(row: Model) -> str:
    """Return a model's label as in the admin's events. For groups, the admin uses a proxy model."""
    label = row._meta.label_lower
    return "accounts.group" if label == "auth.group" else label


def _shortened(names: list[Any]) -> list[str]:
    return sorted(str(name)[:LONGEST_VALUE] for name in names[:MOST_NAMES])


def _short(value: Value) -> Value:
    text = value if isinstance(value, str) else None
    return value if text is None or len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _as_json(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)
