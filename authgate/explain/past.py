"""The data that Explain reads for a moment in the past or future, rebuilt from the journal.

For a moment in the future, the rows are today's. Memberships and rules that end before it have ended.

Settings are always today's: the portal's address, the users who must have a second factor, and its lifetime.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import cached_property
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone
from django.utils.timezone import is_aware, make_aware

from authgate.check.memory import Memory
from authgate.decision.rules import Application, Subject
from authgate.explain.access import Directory, directory
from authgate.explain.persons import DISABLED, FACTOR_OWED, NO_SUCH_USER, Person, Standing, UnknownPerson
from authgate.explain.worlds import PRESENT, NamedRule, World
from authgate.factor_policy import is_factor_missing, proofs_of
from authgate.journal.gaps import require_known
from authgate.journal.states import Row, rows_at
from authgate.memberships import with_end
from authgate.models import Rule
from authgate.worker import loader
from authgate.worker.loader import APPLICATION_FIELDS, RULE_FIELDS, Compiled, References
from authgate.worker.memory import WorkerMemory

PROGRAMS_ARE_OF_TODAY = "programs are of today"


class Past:
    """The state at a moment. Reads each table once. Raises UnknownMoment if the journal does not know it."""

    def __init__(self, at: datetime) -> None:
        require_known(at)
        self.at: datetime | None = at
        self._at = at
        self._known = min(at, timezone.now())
        self._read: dict[tuple[object, ...], list[Row]] = {}

    def _rows(self, table: str, **about: int) -> list[Row]:
        key = (table, *about.items())
        if key not in self._read:
            self._read[key] = rows_at(self._known, table, **about)
        return self._read[key]

    # ---- applications ----

    def load_application_into(self, memory: Memory, origin: str) -> None:
        if loader.is_beside_the_portal(origin):
            memory.applications[origin] = None
            return
        found = self._by_origin.application(origin)
        memory.applications[origin] = found if isinstance(found, Application) else None
        if self._by_origin.is_at_several_ports(origin):
            memory.at_several_ports.add(origin)

    @cached_property
    def _by_origin(self) -> WorkerMemory:
        memory = WorkerMemory(loader.gate_settings(), clock=lambda: 0.0)
        memory.hold_applications(self.applications())
        return memory

    def applications(self, which: set[int] | None = None) -> list[Compiled]:
        about = {"application": next(iter(which))} if which and len(which) == 1 else {}
        origins: dict[int, list[str]] = {}
        for row in self._rows("authgate_origin", **about):
            origins.setdefault(row["application_id"], []).append(row["value"])
        rows = [
            row for row in self._rows("authgate_application", **about) if which is None or row["id"] in which
        ]
        rules = sorted(self._rows("authgate_rule", **about), key=lambda row: (row["path"], row["id"]))
        compiled = loader.compile_rows(
            [_fields(row, APPLICATION_FIELDS) for row in sorted(rows, key=lambda row: str(row["name"]))],
            [_fields(row, RULE_FIELDS) for row in rules],
            self._references(about),
        )
        return [(application, tuple(sorted(origins.get(application.id, ())))) for application in compiled]

    def _references(self, about: dict[str, int]) -> References:
        found: References = {"group": {}, "user": {}, "named": {}, "owner": {}, "team": {}}
        for kind in ("group", "user"):
            # Read all rows, because a rule that moved to another application took its groups along.
            for row in self._rows(f"authgate_rule_{kind}s"):
                found[kind].setdefault(row["rule_id"], []).append(str(row[f"{kind}_id"]))
        for row in self._rows("authgate_application_named_groups", **about):
            if row["group_id"] in self._group_names:
                name = self._group_names[row["group_id"]]
                found["named"].setdefault(row["application_id"], []).append(name)
        for kind, table, column in (("owner", "owners", "user_id"), ("team", "owner_groups", "group_id")):
            for row in self._rows(f"authgate_application_{table}", **about):
                found[kind].setdefault(row["application_id"], []).append(str(row[column]))
        return found

    def rules(self, ids: Collection[int]) -> dict[int, NamedRule]:
        found: dict[int, dict[str, list[str]]] = {key: {"group": [], "user": []} for key in ids}
        names: dict[str, Any] = {"group": self._group_names, "user": self._usernames}
        for kind, named in names.items():
            for row in self._rows(f"authgate_rule_{kind}s"):
                if row["rule_id"] in found and row[f"{kind}_id"] in named:
                    found[row["rule_id"]][kind].append(named[row[f"{kind}_id"]])
        return {
            row["id"]: NamedRule(
                Rule(**row), tuple(found[row["id"]]["group"]), tuple(found[row["id"]]["user"])
            )
            for row in self._rows("authgate_rule")
            if row["id"] in found
        }

    # ---- persons ----

    @cached_property
    def _group_names(self) -> dict[int, str]:
        return {row["id"]: row["name"] for row in self._rows("auth_group")}

    @cached_property
    def _users(self) -> list[Row]:
        return self._rows("accounts_user")

    @property
    def _usernames(self) -> dict[int, str]:
        return {row["id"]: row["username"] for row in self._users}

    def username_of(self, user: int) -> str | None:
        return self._usernames.get(user)

    def _memberships(self, **about: int) -> list[Row]:
        """Return the memberships that were valid at the moment."""
        rows = self._rows("accounts_user_groups", **about)
        return [row for row in rows if row["ends_at"] is None or self._at < row["ends_at"]]

    def directory(self) -> Directory:
        active = sorted(
            (row for row in self._users if row["is_active"]), key=lambda row: str(row["username"])
        )
        usernames = {row["id"]: row["username"] for row in active}
        names = {row["id"]: row["display_name"] for row in active}
        memberships = ((row["user_id"], row["group_id"], row["ends_at"]) for row in self._memberships())
        return directory(usernames, names, dict(self._group_names), memberships)

    def standing_of(self, person: Person) -> Standing:
        """Load a person's credential. Raises UnknownPerson.

        Raises it for programs too, because API tokens are not in the journal.
        """
        if not person.username:
            return Standing(person)
        if person.token:
            raise UnknownPerson(PROGRAMS_ARE_OF_TODAY)
        name = person.username.casefold()
        row = next((row for row in self._users if row["username"].casefold() == name), None)
        if row is None:
            raise UnknownPerson(NO_SUCH_USER)
        subject = self._subject(row, person.second_factor)
        return Standing(person, None, get_user_model()(**row), self._note_on(row, subject), subject)

    def _subject(self, row: Row, has_factor: bool) -> Subject:
        given = self._at if has_factor else None
        memberships = self._memberships(person=row["id"])
        keys = [each["group_id"] for each in memberships if each["user_id"] == row["id"]]
        groups = tuple((key, self._group_names[key]) for key in keys if key in self._group_names)
        return Subject(
            row["id"],
            str(row["uuid"]),
            row["username"],
            row["display_name"],
            self._verified_address(row),
            groups,
            second_factor=has_factor,
            proofs=proofs_of(given, None),
            is_superuser=row["is_superuser"],
        )

    def _verified_address(self, user: Row) -> str:
        email: str = user["email"]
        verified = (
            row["email"].casefold() == email.casefold()
            for row in self._rows("account_emailaddress", person=user["id"])
            if row["verified"] and row["user_id"] == user["id"]
        )
        return email if any(verified) else ""

    def _note_on(self, user: Row, subject: Subject) -> str:
        if not user["is_active"]:
            return DISABLED
        strict = {row["group_id"] for row in self._rows("accounts_strictgroup")}
        given = self._at if subject.second_factor else None
        is_strict = bool(subject.group_ids & strict)
        lacks_factor = is_factor_missing(given, False, user["is_staff"], user["is_superuser"], is_strict)
        return FACTOR_OWED if lacks_factor else ""

    def groups_of(self, standing: Standing) -> list[str]:
        if standing.past is None:
            return []
        rows = self._memberships(person=standing.past.user_id)
        ends = {row["group_id"]: row["ends_at"] for row in rows if row["user_id"] == standing.past.user_id}
        return [with_end(name, ends[key]) for key, name in standing.past.groups]


def _fields(row: Row, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row["id" if name == "pk" else name] for name in names)


def world_at(at: datetime | None) -> World:
    """Return the state at a moment; the present for None. Raises UnknownMoment."""
    return PRESENT if at is None else Past(at)


def moment_from(text: str) -> datetime:
    """Return a moment from ISO 8601 text, such as 2026-03-03 09:00. Raises ValueError.

    Without an offset, the text is in the portal's time zone.
    """
    found = datetime.fromisoformat(text.strip())
    return found if is_aware(found) else make_aware(found)
