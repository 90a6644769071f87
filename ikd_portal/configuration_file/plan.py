"""A plan: what a file would change, determined by changing it in a transaction that is rolled back."""

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
    """A file that is read once, so that plan and apply use the same text."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> ConfigurationFile:
        """Return the file. Raises InvalidFile."""
        return cls(path, read_text(path))

    def reconcile(self, *, prunes: bool) -> Outcome:
        # Parse again for each run, because a run changes the parsed entries.
        return reconcile(read_document(self.text), self.path.parent, prunes=prunes)


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that applying a file makes, and which users gain or lose access."""

    changes: list[Change]
    notes: list[str]
    effect: Effect

    def is_same(self, changes: list[Change]) -> bool:
        """Return whether these changes equal those of the plan."""
        return [*lines_of(self.changes)] == [*lines_of(changes)]


def make_plan(file: ConfigurationFile, *, prunes: bool) -> Plan:
    """Return the changes that applying a file would make. It changes nothing. Raises InvalidFile or Busy."""
    outcome, effect = rehearse(lambda: file.reconcile(prunes=prunes))
    return Plan(outcome.changes, outcome.notes, effect)


def apply_plan(file: ConfigurationFile, plan: Plan, *, prunes: bool) -> None:
    """Apply a file in one transaction, with its audit events. Raises InvalidFile, Busy or Outdated.

    Raises Outdated if the changes differ from the plan.
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
"""Users that a line of the plan names, at most."""


def people_in_words(effect: Effect) -> Iterator[str]:
    """Yield who gains and loses access, one line for each path of an application."""
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
