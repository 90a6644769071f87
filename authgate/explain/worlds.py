"""The data that Explain reads: the present from the database, or another moment from the journal."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from django.contrib.auth import get_user_model

from authgate.check.memory import Memory
from authgate.explain.access import Directory, load_directory
from authgate.explain.persons import Person, Standing, standing_of
from authgate.memberships import with_end
from authgate.models import Rule
from authgate.worker import loader
from authgate.worker.loader import Compiled


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule with the names of its groups and users."""

    row: Rule
    groups: tuple[str, ...]
    users: tuple[str, ...]


class World(Protocol):
    """Applications, rules and persons at a moment. `at` is None for the present."""

    at: datetime | None

    def load_application_into(self, memory: Memory, origin: str) -> None:
        """Load the application that claims an origin into the memory of one request."""

    def applications(self, which: set[int] | None = None) -> list[Compiled]:
        """Return compiled applications with their origins, by name: all, or those of the given ids."""

    def directory(self) -> Directory:
        """Return active users, groups and memberships."""

    def standing_of(self, person: Person) -> Standing:
        """Load a person's credential. Raises UnknownPerson."""

    def username_of(self, user: int) -> str | None:
        """Return a user's name, even if the user is disabled; None if there is no such user."""

    def rules(self, ids: Collection[int]) -> dict[int, NamedRule]:
        """Return rules by their ids, with the names of their groups and users."""

    def groups_of(self, standing: Standing) -> list[str]:
        """Return the names of a person's groups, with the ends of the memberships."""


class Present:
    """The present. Each method queries the database."""

    at: datetime | None = None

    def load_application_into(self, memory: Memory, origin: str) -> None:
        loader.load_application_into(memory, origin)

    def applications(self, which: set[int] | None = None) -> list[Compiled]:
        return loader.load_compiled(which)

    def directory(self) -> Directory:
        return load_directory()

    def standing_of(self, person: Person) -> Standing:
        return standing_of(person)

    def username_of(self, user: int) -> str | None:
        users = get_user_model()._default_manager
        return users.filter(pk=user).values_list("username", flat=True).first()

    def rules(self, ids: Collection[int]) -> dict[int, NamedRule]:
        found = Rule.objects.filter(pk__in=ids).prefetch_related("groups", "users")
        return {
            rule.pk: NamedRule(
                rule,
                tuple(group.name for group in rule.groups.all()),
                tuple(user.get_username() for user in rule.users.all()),
            )
            for rule in found
        }

    def groups_of(self, standing: Standing) -> list[str]:
        memberships = get_user_model().groups.through._default_manager.filter(user=standing.user)
        found = memberships.values_list("group__name", "ends_at") if standing.user else ()
        return [with_end(name, ends_at) for name, ends_at in found]


PRESENT = Present()
