"""The effect of a change: people who gain or lose access, by application and path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Person:
    """A user; one that a change creates has an id that may differ when the change is made again."""

    id: int
    username: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """People whose access to one path scope of an application differs. `people` are in the order of names.

    With an `origin`, only requests to that origin differ. `visitors` are those who are not signed in.
    `rules` decided about the path before, 0 if none did. If `is_whole`, they decided about nothing else.
    """

    application: int
    name: str
    path: str
    exact: bool
    people: tuple[Person, ...]
    visitors: bool = False
    origin: str = ""
    rules: tuple[int, ...] = ()
    is_whole: bool = False

    def identity(self) -> list[Any]:
        """Return the difference for a digest: by names, because ids of new rows are not kept."""
        people = sorted(person.username for person in self.people)
        return [self.name, self.path, self.exact, self.origin, self.visitors, people]


EVERY_APPLICATION = 0
"""Stands for the application of a difference that concerns all of them, whose name is empty."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Who gains access by a change, who loses it, and who keeps it under other conditions.

    Conditions are methods, networks, a second factor and an expiry. `closed` are those whom an application in
    maintenance turns away, and `reopened` those whom it lets in again. `stricter` are those who need a second
    factor for every application from then on, and `looser` those who no longer do. The effect is false if
    there is none.
    """

    gained: tuple[Difference, ...] = ()
    lost: tuple[Difference, ...] = ()
    changed: tuple[Difference, ...] = ()
    closed: tuple[Difference, ...] = ()
    reopened: tuple[Difference, ...] = ()
    stricter: tuple[Difference, ...] = ()
    looser: tuple[Difference, ...] = ()

    def __bool__(self) -> bool:
        return any(self._parts)

    @property
    def _parts(self) -> list[tuple[Difference, ...]]:
        return [getattr(self, each.name) for each in fields(self)]

    @property
    def people(self) -> int:
        """The number of different people who are affected in any way."""
        return len(people_of(each for part in self._parts for each in part))

    @property
    def digest(self) -> str:
        """A digest that differs if anything in the effect differs."""
        parts = [[each.identity() for each in part] for part in self._parts]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def people_of(differences: Iterable[Difference]) -> set[int]:
    """Return the ids of different people."""
    return {person.id for each in differences for person in each.people}
