"""The sender of a request: a visitor, a user in a browser, or a program with an API token. Reads only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.utils import timezone

from authgate.check.memory import Principal, Program, Session
from authgate.decision.rules import Subject
from authgate.factor_policy import in_strict_group, is_factor_missing
from authgate.models import SignIn
from authgate.people import people
from authgate.worker import loader

if TYPE_CHECKING:
    from django.contrib.auth.models import _User as User

NO_SUCH_USER = "no such user"
NO_SUCH_TOKEN = "no such token"  # noqa: S105 (no password)

DISABLED = "user disabled"
FACTOR_OWED = "second factor owed"
TOKEN_OPENS_NOTHING = "token opens nothing"  # noqa: S105 (no password)


@dataclass(frozen=True, slots=True)
class Person:
    """The sender of a request. Without a username, it is a visitor who is not signed in.

    `second_factor` means that the sign-in has just given a second factor other than a passkey. `token` is the
    name of an API token; then the sender is a program.
    """

    username: str = ""
    second_factor: bool = False
    token: str = ""


class UnknownPerson(ValueError):
    """There is no such user or token. The message is NO_SUCH_USER or NO_SUCH_TOKEN."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The result of looking up a person's credential. `note` is the reason if it does not count."""

    person: Person
    program: Program | None = None
    user: User | None = None
    note: str = ""
    past: Subject | None = None
    """The subject of decisions at a moment in the past. None for the present."""

    @property
    def has_credential(self) -> bool:
        return bool(self.person.username)

    def principal(self, place: str) -> Principal | None:
        """Return the principal that memory would hold for the credential at an origin or shared domain."""
        if self.person.token:
            return self.program
        if self.user is None or self.note:
            return None
        if self.past is not None:
            return Session(place, 0, self.past, math.inf, math.inf)
        given = timezone.now() if self.person.second_factor else None
        subject = loader.subject_of(self.user, SignIn(second_factor_at=given))
        return Session(place, 0, subject, math.inf, math.inf)


def standing_of(person: Person) -> Standing:
    """Load a person's present credential. Raises UnknownPerson."""
    if not person.username:
        return Standing(person)
    if "\0" in person.username:  # PostgreSQL refuses to search for it
        raise UnknownPerson(NO_SUCH_USER)
    users = get_user_model()._default_manager.annotate(strict=in_strict_group("pk"))
    user = users.filter(username__iexact=person.username).first()
    if user is None:
        raise UnknownPerson(NO_SUCH_USER)
    if person.token:
        return _program_of(person, user)
    return Standing(person, None, user, _note_on(user, person.second_factor))


def _note_on(user: User, has_factor: bool) -> str:
    if not user.is_active:
        return DISABLED
    strict: bool = getattr(user, "strict")  # noqa: B009  (an annotation)
    given = timezone.now() if has_factor else None
    return FACTOR_OWED if is_factor_missing(given, False, user.is_staff, user.is_superuser, strict) else ""


def _program_of(person: Person, user: User) -> Standing:
    found = people().token_named(user.pk, person.token)
    if found is None:
        raise UnknownPerson(NO_SUCH_TOKEN)
    program = people().load_tokens([found]).get(found)
    is_over = program is None or timezone.now().timestamp() >= program.expires_at
    return Standing(person, program, user, TOKEN_OPENS_NOTHING if is_over else "")
