"""A plan: what a file would change, found by changing it in a transaction that is rolled back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from authgate.audit import record
from authgate.effect.comparison import rehearse
from authgate.effect.values import EVERY_APPLICATION, Difference, Effect
from ikd_portal.configuration_file.changes import ACTOR, Change
from ikd_portal.configuration_file.document import read_document
from ikd_portal.configuration_file.reconciler import Outcome, reconcile
from ikd_portal.configuration_file.tree import read_text


class Outdated(Exception):
    """The database changed between the plan and the apply."""


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A file as it was read once: the plan and the apply are of the same text."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> ConfigurationFile:
        """Return the file. Raise InvalidFile."""
        return cls(path, read_text(path))

    def reconcile(self, *, prunes: bool) -> Outcome:
        # Read again for each run, which changes what it read.
        return reconcile(read_document(self.text), self.path.parent, prunes=prunes)


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a file changes, and who gains or loses access to what."""

    changes: list[Change]
    notes: list[str]
    effect: Effect

    def is_same(self, changes: list[Change]) -> bool:
        """Return whether these changes are those of the plan."""
        return [*lines_of(self.changes)] == [*lines_of(changes)]


def make_plan(file: ConfigurationFile, *, prunes: bool) -> Plan:
    """Return what applying a file would change. Nothing is changed. Raise InvalidFile or Busy."""
    outcome, effect = rehearse(lambda: file.reconcile(prunes=prunes))
    return Plan(outcome.changes, outcome.notes, effect)


def apply_plan(file: ConfigurationFile, plan: Plan, *, prunes: bool) -> None:
    """Apply a file in one transaction, with its audit events. Raise InvalidFile, Busy or Outdated.

    Only what the plan says is applied.
    """
    with transaction.atomic():
        changes = file.reconcile(prunes=prunes).changes
        if not plan.is_same(changes):
            raise Outdated
        for change in changes:
            change.record()
        if changes:
            digest = hashlib.sha256(file.text.encode()).hexdigest()
            details = {"file": file.path.name, "sha256": digest, "changes": len(changes)}
            record("configuration_applied", actor=ACTOR, details=details)


MOST_NAMES = 10
"""People whom a line of the plan names."""


def people_in_words(effect: Effect) -> Iterator[str]:
    """Yield who gains and loses access, a line for each path of an application."""
    titles = {
        "gained": "Gains access",
        "lost": "Loses access",
        "changed": "Other conditions",
        "closed": "Sees the maintenance page",
        "reopened": "Gets in again after maintenance",
        "stricter": "Needs a second factor",
        "looser": "No longer needs a second factor",
    }
    for part, title in titles.items():
        for difference in getattr(effect, part):
            yield f"{title}: {_scope(difference)}: {_people(difference)}"
    if effect:
        yield f"People affected: {effect.people}."


def _scope(difference: Difference) -> str:
    if difference.application == EVERY_APPLICATION:
        return "every application"
    path = f"{difference.path} exactly" if difference.exact else difference.path
    where = f" at {difference.origin}" if difference.origin else ""
    return f"{difference.name} {path}{where}"


def _people(difference: Difference) -> str:
    names = [person.username for person in difference.people]
    shown = names[:MOST_NAMES]
    if len(names) > MOST_NAMES:
        shown.append(f"and {len(names) - MOST_NAMES} more")
    return ", ".join([*(["everyone, without signing in"] if difference.visitors else []), *shown])


def lines_of(changes: list[Change]) -> Iterator[str]:
    for change in changes:
        yield from change.for_plan()
