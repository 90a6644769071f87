"""What earlier applies set: finds renamed objects, objects that left the file, and changes by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ikd_portal.configuration_file.document import Document, Entry
from ikd_portal.configuration_file.schema import Value
from ikd_portal.configuration_file.state import KEYS, State, queryset_of, state_of
from ikd_portal.models import ManagedObject


class Ledger:
    """The managed objects during one apply."""

    def __init__(self) -> None:
        self.managed = {(each.kind, each.name): each for each in ManagedObject.objects.all()}
        self.used: dict[tuple[str, str], Any] = {}
        """The database row of each saved entry."""

    def key_of(self, kind: str, name: str) -> int | None:
        found = self.managed.get((kind, name))
        return found.object_key if found else None

    def drop_renamed(self) -> None:
        """Delete the earlier names of objects that the file now has under another name."""
        used = {(kind, row.pk) for (kind, _name), row in self.used.items()}
        for name, each in list(self.managed.items()):
            if name not in self.used and (each.kind, each.object_key) in used:
                each.delete()
                del self.managed[name]

    def missing_from(self, document: Document) -> list[ManagedObject]:
        """Return the managed objects that the file no longer has."""
        named = {(entry.kind, entry.name) for entry in document.entries()}
        return [each for name, each in sorted(self.managed.items()) if name not in named]

    def write(self, document: Document) -> list[str]:
        """Store what the file set. Return notes about keys that it no longer names."""
        notes = []
        states = self._states()
        for entry in document.entries():
            row = self.used[entry.kind, entry.name]
            applied = _named_by(entry, states[entry.kind, row.pk])
            earlier = self.managed.get((entry.kind, entry.name))
            if earlier is None:
                ManagedObject.objects.create(
                    kind=entry.kind, name=entry.name, object_key=row.pk, applied=applied
                )
                continue
            if gone := sorted(set(earlier.applied) - set(applied)):
                notes.append(
                    f"{entry.kind} {entry.name}: {', '.join(gone)} is no longer in the file, and kept."
                )
            if (earlier.object_key, earlier.applied) != (row.pk, applied):
                earlier.object_key, earlier.applied = row.pk, applied
                earlier.save()
        return notes

    def _states(self) -> dict[tuple[str, int], State]:
        keys: dict[str, list[int]] = {}
        for (kind, _name), row in self.used.items():
            keys.setdefault(kind, []).append(row.pk)
        return {
            (kind, row.pk): state_of(kind, row)
            for kind, found in keys.items()
            for row in queryset_of(kind).filter(pk__in=found)
        }


def _named_by(entry: Entry, state: State) -> State:
    named = {key: state[key] for key in sorted(state) if key in entry.values or key in entry.rows}
    return named | entry.kept


# ---- drift ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drift:
    """A managed object that differs from what was applied. `keys` is empty if it was deleted."""

    managed: ManagedObject
    keys: dict[str, tuple[Value, Value]]
    """For each key, the value in the file and the value now."""


def drifts(managed: list[ManagedObject]) -> list[Drift]:
    """Return the drift of managed objects. A few queries for each kind."""
    found = []
    for kind in KEYS:
        of_kind = {each.object_key: each for each in managed if each.kind == kind}
        if not of_kind:
            continue
        rows = {row.pk: row for row in queryset_of(kind).filter(pk__in=of_kind)}
        for key, each in of_kind.items():
            row = rows.get(key)
            keys = {} if row is None else _differences(each, row)
            if row is None or keys:
                found.append(Drift(each, keys))
    return found


def _differences(managed: ManagedObject, row: Any) -> dict[str, tuple[Value, Value]]:
    state = state_of(managed.kind, row)
    if getattr(row, "locked_down_at", None) is not None:
        del state["enabled"]  # a lockdown does not count as a change of the configuration
    found = {
        key: (value, state[key]) for key, value in managed.applied.items() if state.get(key, value) != value
    }
    if getattr(row, KEYS[managed.kind]) != managed.name:
        found[KEYS[managed.kind]] = (managed.name, getattr(row, KEYS[managed.kind]))
    return found
