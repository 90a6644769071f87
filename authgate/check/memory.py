"""What a check reads from memory: settings, applications and sessions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from authgate.check.contracts import Contract
from authgate.check.tally import NOBODY, NOT_COUNTED, Counts, Tally
from authgate.decision.rules import Application, Decision, Subject
from authgate.decision.target import Target

if TYPE_CHECKING:
    from authgate.check.context import Context
    from authgate.check.credentials import Credential
    from authgate.check.responses import Answer

ANYBODY = frozenset(("", "x-access-token", "x-token-auth", "oauth2", "token"))
"""Placeholder user names that programs send when the password is a token."""

ANSWERS_LIMIT = 64
"""Answers cached for one session. Without a limit, a program could request any number of host names below a
wildcard."""


class Unknown(Enum):
    """The type of `UNKNOWN`, which means that memory does not have the value."""

    UNKNOWN = 0


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class Tokens:
    """A provider's tokens for an application, each empty if there is none.

    Both are valid until `good_until`, in Unix time.
    """

    access: bytes
    id: bytes
    good_until: float


Picked = dict[tuple[int | None, str | None], Tally]
"""The tallies of a cached answer, by rule and method."""

Kept = dict[str, tuple[Application, "Answer", float, Picked]]
"""Cached answers by origin: the application, the answer, until when it is valid, and its tallies."""


@dataclass(slots=True)
class Session:
    """A gate session. Times are Unix time. `origin` can be a shared cookie domain such as `.example.com`."""

    is_program: ClassVar[bool] = False
    token_id: ClassVar[int | None] = None

    origin: str
    sign_in_id: int
    subject: Subject
    expires_at: float
    idle_at: float
    tokens: Tokens | None = field(default=None, compare=False, kw_only=True)
    allowed: Kept = field(default_factory=dict, compare=False)
    read_again_at: float = field(init=False, compare=False)
    """From this time on, the session must be loaded again: it may be idle, or a membership may have ended."""

    def __post_init__(self) -> None:
        self.read_again_at = min(self.idle_at, self.subject.groups_until)

    def accepts(self, credential: Credential, application_id: int, now: float) -> bool:
        """Return whether a cookie is valid for this session at its place, and the session has not ended."""
        return self.origin == credential.place and now < self.expires_at and now < self.idle_at

    def is_live(self, now: float) -> bool:
        """Return whether the session has not ended. `accepts` tests the same without another call."""
        return now < self.expires_at and now < self.idle_at


@dataclass(slots=True)
class Program:
    """A program with an API token or JWT. `applications` are those that it may use, None for all.

    `token_id` is None for a JWT.
    """

    is_program: ClassVar[bool] = True
    sign_in_id: ClassVar[int | None] = None
    tokens: ClassVar[Tokens | None] = None

    subject: Subject
    expires_at: float
    applications: frozenset[int] | None = None
    token_id: int | None = None
    allowed: Kept = field(default_factory=dict, compare=False)
    read_again_at: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self.read_again_at = self.subject.groups_until

    def accepts(self, credential: Credential, application_id: int, now: float) -> bool:
        """Return whether a credential is valid for an application now. A cookie never is."""
        if credential.place or now >= self.expires_at or not self.accepts_name(credential.name):
            return False
        return self.applications is None or application_id in self.applications

    def accepts_name(self, name: str | None) -> bool:
        """Return whether Basic may send this user name: that of the user, or a placeholder."""
        return name is None or name in ANYBODY or name.casefold() == self.subject.username.casefold()


Principal = Session | Program


class RefusedPage(NamedTuple):
    """The content of the refused page. `application` is empty for visitors who may not know its name."""

    decision_id: str
    target: Target
    application: str = ""
    username: str = ""
    reason: str = ""
    languages: str = ""
    """The browser's Accept-Language (RFC 9110, section 12.5.4)."""
    text: str = ""
    """The application's text for refused users, or for its maintenance."""
    prefix: str = ""
    """The prefix of the page `start`, if the visitor may be an owner who is not signed in."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    portal_origin: str
    trusted_proxies: tuple[str, ...]
    forwarded_hops: int
    checks: dict[str, Contract]
    state_keys: tuple[bytes, ...]
    render_refused: Callable[[RefusedPage], bytes]
    render_framed: Callable[[str, str], bytes]
    """Returns the page for a frame. Its arguments are the URL of its link, and an Accept-Language."""

    shared_domains: tuple[str, ...] = ()
    """Domains in which one gate cookie is valid for all origins. None is below another."""


class Signer(Protocol):
    """Signs identities. It is false until it has a key."""

    def sign(self, claims: dict[str, Any], now: float) -> bytes: ...

    def __bool__(self) -> bool: ...


class Memory:
    """The memory of one request. It contains only what was loaded for it."""

    def __init__(self, settings: GateSettings, random: Callable[[int], bytes] = os.urandom) -> None:
        self.settings = settings
        self.random = random
        self.applications: dict[str, Application | None] = {}
        self.sessions: dict[bytes, Principal | None] = {}
        self.at_several_ports: set[str] = set()
        self.issuers: frozenset[str] | Unknown = UNKNOWN
        self.signer: Signer | None = None
        self.tallies: Counts | None = None
        self.public: Kept = {}
        """Cached answers to visitors who are not signed in."""

    def tally(self, context: Context, subject: Subject | None, decision: Decision, outcome: str) -> Tally:
        """Return the tally of an answer that is not cached."""
        if self.tallies is None:
            return NOT_COUNTED
        application = context.application
        if application.watched:
            self.tallies.watch(context, subject)
        person = NOBODY if subject is None else subject.user_id
        return self.tallies.once(application.id, person, decision, context.target.method, outcome)

    def is_throttled(self, client: str, key: bytes, now: float) -> bool:
        """Return whether an address sent too many wrong credentials. Then no other one is looked up now."""
        return False

    def note_wrong(self, client: str, now: float) -> None:
        """Count a wrong credential that had to be looked up."""

    def is_at_several_ports(self, origin: str) -> bool:
        """Return whether another port of this origin's host belongs to another application."""
        return origin in self.at_several_ports

    def application(self, origin: str) -> Application | Unknown | None:
        """Return the application of an origin, or None."""
        return self.applications.get(origin, UNKNOWN)

    def session(self, key: bytes, now: float) -> Principal | Unknown | None:
        """Return the session or program with this key, or None."""
        return self.sessions.get(key, UNKNOWN)
