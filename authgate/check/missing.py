"""What a check may lack: a row to load, a code to take, a page to keep, or an endpoint to run."""

from __future__ import annotations

from dataclasses import dataclass

from authgate.check.context import Context
from authgate.check.memory import Session


class Missing:
    """Stands where an answer would. Its classes say what is missing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class MissingApplication(Missing):
    origin: str


@dataclass(frozen=True, slots=True)
class MissingSession(Missing):
    digest: bytes


@dataclass(frozen=True, slots=True)
class MissingProgram(Missing):
    """What a program's credential stands for."""

    key: bytes
    context: Context


@dataclass(frozen=True, slots=True)
class MissingIssuers(Missing):
    pass


@dataclass(frozen=True, slots=True)
class MissingSigner(Missing):
    pass


@dataclass(frozen=True, slots=True)
class MissingTokens(Missing):
    session: Session


@dataclass(frozen=True, slots=True)
class MissingCode(Missing):
    """The sign-in that a one-time code stands for."""

    code: str
    context: Context


@dataclass(frozen=True, slots=True)
class MissingPage(Missing):
    """A place for a page that is too long for a redirect."""

    context: Context


@dataclass(frozen=True, slots=True)
class MissingEndpoint(Missing):
    """The answer of one of our endpoints, which the target of the check is."""

    name: str
    context: Context
