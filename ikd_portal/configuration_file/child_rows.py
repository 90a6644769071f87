"""Rules and mappings of an object. The file's rows replace those in the database; equal rows stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Model, TextField

from accounts.models import ClaimMapping, GroupMapping
from authgate.models import Rule
from authgate.validation import refuse_hidden, refuse_hidden_in_lines
from ikd_portal.configuration_file.changes import ADDED, CHANGED, DELETED, FieldChange, RowChange
from ikd_portal.configuration_file.document import Row
from ikd_portal.configuration_file.names import Names
from ikd_portal.configuration_file.schema import MANY_TO_MANY, Shape, Value, fields_of
from ikd_portal.configuration_file.state import row_values

SAME: dict[type[Model], tuple[str, ...]] = {
    Rule: ("path", "exact"),
    ClaimMapping: ("field",),
    GroupMapping: ("claim", "value", "group"),
}
"""Fields by which a row of the file is recognised as a changed row of the database."""

Note = Callable[[int, str], None]


@dataclass(slots=True)
class _Wanted:
    row: Row
    draft: Any
    values: dict[str, Value]


class ChildRows:
    """Replaces the rows of one model that belong to one object."""

    def __init__(self, model: type[Model], parent: str, names: Names, note: Note) -> None:
        self.model, self.parent, self.names, self.note = model, parent, names, note
        self.fields = fields_of(model)

    def replace(self, owner: Model, rows: list[Row], existing: list[Any]) -> list[RowChange]:
        """Replace `existing` by the rows of the file, and return the changes. Equal rows are not touched."""
        self._find_names(rows)
        left = [(row_values(self.model, each), each) for each in existing]
        wanted = [_Wanted(row, None, dict(row.values)) for row in rows]
        wanted = [each for each in wanted if not _take(left, each.values)]
        for each in wanted:
            each.draft = self._draft(owner, each)
        wanted = [each for each in wanted if each.draft is not None and not _take(left, each.values)]
        pairs = [(each, self._take_similar(left, each.values)) for each in wanted]
        changes = [self._delete(values, row) for values, row in left]
        for each, old in pairs:
            changes.append(self._add(each) if old is None else self._update(each, *old))
        return changes

    def _find_names(self, rows: list[Row]) -> None:
        """Look up all names, even those of unchanged rows, so that pruning does not delete a group in use."""
        for row in rows:
            for name, each in self.fields.items():
                line = row.lines.get(name, row.line)
                if each.shape in MANY_TO_MANY:
                    self.names.find(each.shape, row.values[name], line)
                elif each.shape is Shape.GROUP and row.values[name] is not None:
                    self.names.find(each.shape, [row.values[name]], line)

    def _draft(self, owner: Model, wanted: _Wanted) -> Any:
        """Return an unsaved row in canonical form, or None after a problem. Uniqueness is checked later."""
        draft = self.model(**{self.parent: owner})
        if isinstance(draft, Rule):
            draft.validated_with_siblings = True
        if not self._assign(draft, wanted):
            return None
        try:
            draft.clean_fields()
            draft.clean()
        except ValidationError as error:
            for line, text in problems_of(error, wanted.row.lines, wanted.row.line):
                self.note(line, text)
            return None
        wanted.values |= {
            name: each.of(draft) for name, each in self.fields.items() if each.shape not in MANY_TO_MANY
        }
        return draft

    def _assign(self, row: Any, wanted: _Wanted) -> bool:
        """Set the columns of a row. Return whether every name in the file is known."""
        is_known = True
        for name, each in self.fields.items():
            value, line = wanted.values[name], wanted.row.lines.get(name, wanted.row.line)
            if each.shape in MANY_TO_MANY:
                is_known = self.names.find(each.shape, value, line) is not None and is_known
            elif each.shape is Shape.GROUP and value is not None:
                found = self.names.find(each.shape, [value], line)
                is_known = found is not None and is_known
                if found:
                    row.group_id = found[0]
                    row.group = self.names.group(value)
            elif each.shape is not Shape.GROUP:
                each.assign(row, value)
                is_known = self._is_readable(name, value, line) and is_known
        return is_known

    def _is_readable(self, name: str, value: Value, line: int) -> bool:
        try:
            refuse_hidden_texts(self.model, name, value)
        except ValidationError as error:
            self.note(line, f"{name}: {' '.join(error.messages)}")
            return False
        return True

    def _take_similar(self, left: list[tuple[dict[str, Value], Any]], values: dict[str, Value]) -> Any:
        for index, (old, _row) in enumerate(left):
            if all(old[name] == values[name] for name in SAME[self.model]):
                return left.pop(index)
        return None

    def _delete(self, values: dict[str, Value], row: Any) -> RowChange:
        text = str(row)
        row.delete()
        return RowChange(DELETED, self.model, text, self._shown(values))

    def _add(self, wanted: _Wanted) -> RowChange:
        self._save(wanted, wanted.draft)
        return RowChange(ADDED, self.model, str(wanted.draft), self._shown(wanted.values))

    def _update(self, wanted: _Wanted, values: dict[str, Value], row: Any) -> RowChange:
        if isinstance(row, Rule):
            row.validated_with_siblings = True
        self._assign(row, wanted)
        self._save(wanted, row)
        fields = tuple(
            FieldChange(name, each.label, values[name], wanted.values[name])
            for name, each in self.fields.items()
            if values[name] != wanted.values[name]
        )
        shown = {name: wanted.values[name] for name in SAME[self.model]}
        return RowChange(CHANGED, self.model, str(row), shown, fields)

    def _save(self, wanted: _Wanted, row: Any) -> None:
        if isinstance(row, GroupMapping):
            # In the admin, only superusers can edit providers. They also have the shell.
            row.made_by_superuser = True
        try:
            row.full_clean()
        except ValidationError as error:
            for line, text in problems_of(error, wanted.row.lines, wanted.row.line):
                self.note(line, text)
            return
        is_new = row.pk is None
        row.save()
        for name, each in self.fields.items():
            if each.shape in MANY_TO_MANY and (wanted.values[name] or not is_new):
                getattr(row, name).set(self.names.find(each.shape, wanted.values[name], 0) or [])

    def _shown(self, values: dict[str, Value]) -> dict[str, Value]:
        """Return the values that identify a row to a reader: its key and what differs from the defaults."""
        return {
            name: values[name]
            for name, each in self.fields.items()
            if values[name] != each.default or name in SAME[self.model][:1] or name == "who"
        }


def _take(left: list[tuple[dict[str, Value], Any]], values: dict[str, Value]) -> bool:
    """Remove one row with these values from `left`. Return whether there was one."""
    for index, (old, _row) in enumerate(left):
        if old == values:
            del left[index]
            return True
    return False


def problems_of(error: ValidationError, lines: dict[str, int], line: int) -> Iterator[tuple[int, str]]:
    """Yield line and text of each problem that a model's validation found."""
    found = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
    for name, texts in found.items():
        for text in texts:
            yield lines.get(name, line), text if name == NON_FIELD_ERRORS else f"{name}: {text}"


def refuse_hidden_texts(model: type[Model], name: str, value: Value) -> None:
    """Raise ValidationError for invisible characters, as the admin's forms do."""
    refuse = refuse_hidden_in_lines if isinstance(model._meta.get_field(name), TextField) else refuse_hidden
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            refuse(text)
