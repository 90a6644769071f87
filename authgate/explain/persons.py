"""Who asks: nobody, a user in a browser, or a program with a user's API token. Everything is read only."""

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
    """Who asks. Without a username it is a visitor who is not signed in.

    `second_factor` tells whether the sign-in has just had one, no passkey. With `token`, the name of an API
    token, a program asks.
    """

    username: str = ""
    second_factor: bool = False
    token: str = ""


class UnknownPerson(ValueError):
    """The text is NO_SUCH_USER or NO_SUCH_TOKEN."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the check finds for a person's credential. `note` says why it finds nothing."""

    person: Person
    program: Program | None = None
    user: User | None = None
    note: str = ""
    past: Subject | None = None
    """Who the person was at a moment in the past, as decisions use it. None for the present."""

    @property
    def has_credential(self) -> bool:
        return bool(self.person.username)

    def principal(self, place: str) -> Principal | None:
        """Return what memory would hold for the person's credential at an origin or shared domain."""
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
    """Load a person as of now. Raise UnknownPerson."""
    if not person.username:
        return Standing(person)
    if "\0" in person.username:  # which PostgreSQL refuses to look for
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
