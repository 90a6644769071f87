"""Changes that an admin form made, for the audit trail: old and new values, never secret ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from typing import Any

from django import forms
from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model
from django.utils.translation import gettext as _
from django.utils.translation import override

from authgate.encryption import Secret
from authgate.models import AuditEvent

LONGEST_VALUE = 200
MOST_NAMES = 30
"""Names that an event keeps for one field. Otherwise a group of thousands would fill the table."""

SECRET_WIDGETS = (forms.PasswordInput, forms.FileInput)
SECRET_WORDS = ("password", "secret", "token_digest")

Change = dict[str, Any]


def changes_of(form: Any, formsets: Iterable[Any], secret_fields: Collection[str] = ()) -> list[Change]:
    """Return each field that a form changed, then each changed row of its inlines."""
    return [*_changed_fields(form, secret_fields), *(row for formset in formsets for row in _rows(formset))]


def _rows(formset: Any) -> list[Change]:
    def row(how: str, obj: Model, fields: list[Change]) -> Change:
        return {"row": str(obj)[:LONGEST_VALUE], "model": obj._meta.label_lower, "how": how, "fields": fields}

    by_row = {form.instance.pk: form for form in formset.forms}
    changed = [
        row("changed", obj, _changed_fields(by_row[obj.pk], ()))
        for obj, _names in formset.changed_objects
        if obj.pk in by_row
    ]
    added = [row("added", obj, []) for obj in formset.new_objects]
    return added + changed + [row("deleted", obj, []) for obj in formset.deleted_objects]


def _changed_fields(form: Any, secret_fields: Collection[str]) -> list[Change]:
    with override(None):  # event rows contain the untranslated texts
        return [_change(form, name, secret_fields) for name in form.changed_data if name in form.fields]


def _change(form: Any, name: str, secret_fields: Collection[str]) -> Change:
    field = form.fields[name]
    entry: Change = {"field": name, "label": str(field.label or "")}
    if _is_secret(form, name, secret_fields):
        return entry
    old, new = form.initial.get(name, field.initial), form.cleaned_data.get(name)
    if isinstance(field, forms.ModelMultipleChoiceField):
        return entry | _difference(field, old, new)
    if isinstance(field, forms.ModelChoiceField) and field.queryset is not None and old:
        old = field.queryset.filter(pk=getattr(old, "pk", old)).first()
    return entry | {"old": _value(old), "new": _value(new)}


def _is_secret(form: Any, name: str, secret_fields: Collection[str]) -> bool:
    """Return whether the event must not keep a value. Values of encrypted fields are always secret."""
    values = (form.initial.get(name), form.cleaned_data.get(name), getattr(form.instance, name, None))
    return (
        name in secret_fields
        or any(word in name for word in SECRET_WORDS)
        or isinstance(form.fields[name].widget, SECRET_WIDGETS)
        or any(isinstance(value, Secret | bytes) for value in values)
    )


def _difference(field: forms.ModelMultipleChoiceField[Any], old: Any, new: Any) -> Change:
    before, after = _keys(old), _keys(new)
    return {"added": _names(field, after - before), "removed": _names(field, before - after)}


def _keys(rows: Any) -> set[Any]:
    return {getattr(row, "pk", row) for row in rows or ()}


def _names(field: forms.ModelMultipleChoiceField[Any], keys: set[Any]) -> list[str]:
    rows = field.queryset.filter(pk__in=keys)[:MOST_NAMES] if keys and field.queryset is not None else ()
    return sorted(str(row)[:LONGEST_VALUE] for row in rows)


def _value(value: Any) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value.isoformat() if isinstance(value, date) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


# ---- in the reader's language -----------------------------------------------------------------------------


def label_of_change(change: Change) -> str:
    """Return a field's label, or its machine name if it has no label."""
    label = str(change.get("label") or "")
    return _(label) if label else str(change.get("field", ""))


def values_of(event: AuditEvent) -> list[Change]:
    """Return an event's old and new values. Events from earlier versions have none."""
    values = event.details.get("values") if isinstance(event.details, dict) else None
    return [change for change in values or () if isinstance(change, dict)]


def named_fields(event: AuditEvent) -> list[Any]:
    """Return Django's message, which names the fields that were changed."""
    changes = event.details.get("changes") if isinstance(event.details, dict) else None
    known = ("added", "changed", "deleted")
    found = changes if isinstance(changes, list) else []
    return [each for each in found if isinstance(each, dict) and any(name in each for name in known)]


def model_named(label: object) -> type[Model] | None:
    try:
        return apps.get_model(label) if isinstance(label, str) else None
    except (LookupError, ValueError):
        return None


def shown_change(model: type[Model] | None, change: Change) -> Change:
    """Return a change for the template, in the reader's language."""
    if "row" in change:
        of = model_named(change.get("model"))
        fields = [shown_change(of, field) for field in change.get("fields") or ()]
        return change | {"model": str(of._meta.verbose_name) if of else "", "fields": fields}
    shown = {"label": label_of_change(change), "is_list": "added" in change, "is_told": "old" in change}
    if shown["is_list"]:
        return shown | {"added": change.get("added"), "removed": change.get("removed")}
    return shown | {which: _in_words(model, change, which) for which in ("old", "new") if which in change}


def _in_words(model: type[Model] | None, change: Change, which: str) -> str:
    """Return a value as the form shows it."""
    value = change.get(which)
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    choices = dict(getattr(_model_field(model, str(change.get("field"))), "flatchoices", None) or ())
    shown = choices.get(value, choices.get(str(value), value)) if value not in (None, "") else ""
    return str(shown) if shown != "" else _("empty")


def _model_field(model: type[Model] | None, name: str) -> Field[Any, Any] | None:
    try:
        field = model._meta.get_field(name) if model else None
    except FieldDoesNotExist:
        return None
    return field if isinstance(field, Field) else None
