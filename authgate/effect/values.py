"""The effect of a change: people who gain or lose access, by application and path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Person:
    """A user. If the change creates the user, the id may differ when the change is made again."""

    id: int
    username: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A path scope of an application, and the people with different access to it, sorted by name.

    With an `origin`, only requests to that origin differ. `visitors` means that visitors who are not signed
    in are affected. `rules` decided about the path before; 0 stands for no rule. If `is_whole`, they decided
    about no other path.
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
        """Return the difference for a digest. It contains names, because ids of new rows may differ later."""
        people = sorted(person.username for person in self.people)
        return [self.name, self.path, self.exact, self.origin, self.visitors, people]


EVERY_APPLICATION = 0
"""The id of the application, with an empty name, in a difference that affects all applications."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The people who gain access by a change, who lose it, or who keep it under other conditions.

    Conditions are methods, networks, a second factor and an expiry. `closed` are people who are shut out by
    an application's maintenance; `reopened` are people who get in again. `stricter` are people who then need
    a second factor for every application; `looser` are people who no longer need one. An empty effect is
    false.
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
        """The number of people who are affected in any way. Each counts once."""
        return len(people_of(each for part in self._parts for each in part))

    @property
    def digest(self) -> str:
        """A digest that changes with anything in the effect."""
        parts = [[each.identity() for each in part] for part in self._parts]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def people_of(differences: Iterable[Difference]) -> set[int]:
    """Return the ids of all people, each once."""
    return {person.id for each in differences for person in each.people}
