"""The import of users from a file. It checks each user as the admin's form does, and creates all or none.

An import never changes an existing user, never links users by address, and grants no administration rights.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import argon2
from allauth.account.models import EmailAddress
from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.admin.forms import free_address, refuse_taken_name
from accounts.look_alikes import skeleton, skeletons
from accounts.models import LOOKS_ALIKE, User
from authgate.validation import refuse_hidden

COLUMNS = ("username", "display_name", "email", "groups")
IN_JSON = (*COLUMNS, "password_hash", "disabled")
MOST_USERS = 5000
LARGEST_FILE = 2_000_000
"""Bytes."""

POWER = ("staff", "superuser", "permission", "role", "admin")
MOST_MEMORY, MOST_ROUNDS, MOST_LANES = 262_144, 10, 16
"""KiB, rounds and lanes of a hash. Each sign-in computes it again, so it must not be expensive."""


class UnreadableFile(Exception):
    """The import cannot read a file. The message is in the reader's language."""


@dataclass(slots=True)
class Person:
    """A user in a file. `line` is the user's first line in CSV, or their number in JSON."""

    line: int
    username: str
    display_name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()
    password_hash: str = ""
    disabled: bool = False
    problems: list[str] = field(default_factory=list)
    exists: bool = False


@dataclass(slots=True)
class ImportPlan:
    """The effect of an import. It does not change users with `exists`."""

    people: list[Person]
    new_groups: list[str]

    @property
    def new(self) -> list[Person]:
        return [person for person in self.people if not person.exists]

    @property
    def has_problems(self) -> bool:
        return any(person.problems for person in self.people)


# ---- files ------------------------------------------------------------------------------------------------


def people_in_csv(text: str) -> list[Person]:
    """Return the users of a CSV file. Groups are separated by semicolons. Raises UnreadableFile."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        _require_columns(reader.fieldnames or (), COLUMNS)
        people = []
        for row in reader:
            if None in row or None in row.values():
                message = _("Line %(line)d has more or fewer fields than the first line.")
                raise UnreadableFile(message % {"line": reader.line_num})
            people.append(_from_row(reader.line_num, row))
            _refuse_too_many(people)
    except csv.Error:
        raise UnreadableFile(_("Line %(line)d is not CSV.") % {"line": reader.line_num}) from None
    return people


def _from_row(line: int, row: dict[str, str]) -> Person:
    groups = tuple(name for text in row.get("groups", "").split(";") if (name := text.strip()))
    username, display_name, email = (row.get(name, "").strip() for name in COLUMNS[:3])
    return Person(line, username, display_name, email, groups=tuple(dict.fromkeys(groups)))


def people_in_json(text: str) -> list[Person]:
    """Return the users of a JSON file, which may contain hashes of passwords. Raises UnreadableFile."""
    try:
        rows = json.loads(text)["users"]
        people = [_from_object(number, row) for number, row in enumerate(rows, 1)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UnreadableFile(_("The file is not a list of users in JSON.")) from None
    _refuse_too_many(people)
    return people


def _from_object(number: int, row: dict[str, Any]) -> Person:
    _require_columns(list(row), IN_JSON)
    texts = {name: row.get(name, "") for name in ("username", "display_name", "email", "password_hash")}
    groups = row.get("groups", [])
    wrong = [*texts.values(), *groups]
    if not all(isinstance(text, str) for text in wrong) or not isinstance(row.get("disabled", False), bool):
        raise ValueError(number)
    username, display_name, email, password_hash = texts.values()
    person = Person(number, username, display_name, email, tuple(dict.fromkeys(groups)), password_hash)
    person.disabled = row.get("disabled", False)
    return person


def _require_columns(names: Sequence[str], known: Iterable[str]) -> None:
    if "username" not in names:
        raise UnreadableFile(_("There is no column username. The first line names the columns."))
    if len(set(names)) < len(names):
        raise UnreadableFile(_("A column appears twice."))
    for name in names:
        if name not in known and any(word in name.lower() for word in POWER):
            raise UnreadableFile(_("An import cannot grant administration rights. Remove “%s”.") % name[:60])
        if name not in known and "password" in name.lower():
            message = _("A file must not contain passwords. Users set their own. Remove “%s”.")
            raise UnreadableFile(message % name[:60])
        if name not in known:
            words = {"name": name[:60], "known": ", ".join(COLUMNS)}
            raise UnreadableFile(_("Unknown column “%(name)s”. Known are %(known)s.") % words)


def _refuse_too_many(people: list[Person]) -> None:
    if len(people) > MOST_USERS:
        raise UnreadableFile(_("The file has more than %d users. Split it.") % MOST_USERS)


# ---- checks -----------------------------------------------------------------------------------------------


class _PersonForm(forms.ModelForm):
    """The checks of the admin's form, for a new user."""

    class Meta:
        model = User
        fields = ("username", "display_name", "email")

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        refuse_hidden(username)
        refuse_taken_name(username)
        return username

    def clean_display_name(self) -> str:
        refuse_hidden(self.cleaned_data["display_name"])
        return str(self.cleaned_data["display_name"])

    def clean_email(self) -> str:
        return free_address(self.cleaned_data["email"])


def check(people: list[Person], *, is_superuser: bool, creates_groups: bool) -> ImportPlan:
    """Return the effect of an import, with the problems of each user."""
    groups = {group.name: group for group in Group.objects.all()}
    powerful = set(Group.objects.filter(permissions__isnull=False).values_list("name", flat=True))
    of_providers = set(Group.objects.filter(upstream_group__isnull=False).values_list("name", flat=True))
    known = {name.casefold() for name in User.objects.values_list("username", flat=True)}
    seen: set[str] = set()
    shapes: set[str] = set()
    missing: dict[str, None] = {}
    for person in people:
        _check_groups(person, powerful if not is_superuser else set(), of_providers)
        unknown = [name for name in person.groups if name not in groups]
        missing |= dict.fromkeys(unknown)
        if unknown and not creates_groups:
            person.problems.append(_("There is no group %s.") % ", ".join(unknown)[:200])
        person.exists = person.username.casefold() in known
        if not person.exists:
            _check_fields(person)
        names = {person.username.casefold(), person.email.casefold()} - {""}
        if names & seen:
            person.problems.append(_("The name or address is in the file twice."))
        elif skeleton(person.username) in shapes:
            person.problems.append(str(LOOKS_ALIKE))
        seen |= names
        shapes |= skeletons(person.username)
    for name in missing if creates_groups else ():
        _check_group_name(name, people)
    return ImportPlan(people, list(missing) if creates_groups else [])


def _check_groups(person: Person, powerful: set[str], of_providers: set[str]) -> None:
    for name in person.groups:
        if name in powerful:
            message = _("Only superusers can add users to groups with permissions: %(names)s.")
            person.problems.append(message % {"names": name})
        if name in of_providers:
            person.problems.append(_("The group %s is filled by an identity provider.") % name)


def _check_fields(person: Person) -> None:
    fields = {"username": person.username, "display_name": person.display_name, "email": person.email}
    form = _PersonForm(fields)
    person.problems += [f"{name}: {text}" for name, texts in form.errors.items() for text in texts]
    if person.password_hash and not is_acceptable_hash(person.password_hash):
        person.problems.append(_("The hash of the password is of a kind that the portal does not verify."))


def _check_group_name(name: str, people: list[Person]) -> None:
    try:
        refuse_hidden(name)
        Group(name=name).full_clean()
    except ValidationError as error:
        for person in people:
            if name in person.groups:
                person.problems.append(f"{name[:60]}: {' '.join(error.messages)}")


def is_acceptable_hash(text: str) -> bool:
    """Return whether a hash is Argon2id, as the portal's own, and not too expensive to verify."""
    try:
        found = argon2.extract_parameters(text)
    except (argon2.exceptions.InvalidHash, ValueError):
        return False
    is_cheap = (
        found.memory_cost <= MOST_MEMORY
        and found.time_cost <= MOST_ROUNDS
        and found.parallelism <= MOST_LANES
    )
    # An attacker can find a match of a short hash more easily than the user's password.
    is_long = found.hash_len in range(16, 65) and found.salt_len in range(8, 65)
    return found.type is argon2.Type.ID and found.version == 19 and is_cheap and is_long


# ---- import -----------------------------------------------------------------------------------------------


@transaction.atomic
def perform(plan: ImportPlan) -> list[User]:
    """Create the users of a plan without problems. Return them, so that the caller can write the events."""
    groups = {group.name: group for group in Group.objects.all()}
    for name in plan.new_groups:
        groups[name] = Group.objects.create(name=name)
    users = []
    for person in plan.new:
        user = User(username=person.username, display_name=person.display_name, email=person.email.lower())
        user.is_active = not person.disabled
        if person.password_hash:
            user.password = f"argon2{person.password_hash}"
        else:
            user.set_unusable_password()
        user.save()
        user.groups.set([groups[name] for name in person.groups])
        if user.email:
            EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=False)
        users.append(user)
    return users
