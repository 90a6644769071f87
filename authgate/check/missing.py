"""What memory can lack for an answer: rows, a one-time code, a stored page or an endpoint's answer."""

from __future__ import annotations

from dataclasses import dataclass

from authgate.check.context import Context
from authgate.check.memory import Session


class Missing:
    """Returned instead of an answer. Each subclass is for one kind of missing data."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class MissingApplication(Missing):
    origin: str


@dataclass(frozen=True, slots=True)
class MissingSession(Missing):
    digest: bytes


@dataclass(frozen=True, slots=True)
class MissingProgram(Missing):
    """The API token or JWT of a program."""

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
    """The sign-in of a one-time code."""

    code: str
    context: Context


@dataclass(frozen=True, slots=True)
class MissingPage(Missing):
    """A page whose address is too long for a redirect. It must be stored first."""

    context: Context


@dataclass(frozen=True, slots=True)
class MissingEndpoint(Missing):
    """The answer of one of our endpoints: the target of the check is its URL."""

    name: str
    context: Context
