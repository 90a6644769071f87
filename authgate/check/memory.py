"""What a check reads: settings made ready, applications and sessions. Standard library only."""

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
"""User names that programs send where the password is a token, and that name nobody."""

ANSWERS_LIMIT = 64
"""Answers kept ready made for one session: a machine may ask at any number of names below a wildcard."""


class Unknown(Enum):
    """Not in memory, so memory cannot say."""

    UNKNOWN = 0


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class Tokens:
    """A provider's tokens for an application, each empty if there is none.

    Both are good until `good_until`, in Unix time.
    """

    access: bytes
    id: bytes
    good_until: float


Picked = dict[tuple[int | None, str | None], Tally]
"""The tallies that a kept answer had, by rule and method."""

Kept = dict[str, tuple[Application, "Answer", float, Picked]]
"""Answers ready made: for each origin the application they are for, and until when they may be given."""


@dataclass(slots=True)
class Session:
    """A gate session. Times are Unix time. `origin` may be a shared cookie domain: `.example.com`."""

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
    """From then on only the database can say whether the session is idle, and which groups the user is in."""

    def __post_init__(self) -> None:
        self.read_again_at = min(self.idle_at, self.subject.groups_until)

    def counts(self, credential: Credential, application_id: int, now: float) -> bool:
        """Return whether a cookie opens this session where it came, and whether the session still lives."""
        return self.origin == credential.place and now < self.expires_at and now < self.idle_at

    def is_live(self, now: float) -> bool:
        """Return whether the session still lives. `counts` says the same, without another call."""
        return now < self.expires_at and now < self.idle_at


@dataclass(slots=True)
class Program:
    """What a program's credential stands for. `applications` are those that it opens, None for all.

    `token_id` is that of an API token.
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

    def counts(self, credential: Credential, application_id: int, now: float) -> bool:
        """Return whether a credential opens this application now. No cookie does."""
        if credential.place or now >= self.expires_at or not self.is_named(credential.name):
            return False
        return self.applications is None or application_id in self.applications

    def is_named(self, name: str | None) -> bool:
        """Return whether Basic may name this user so: a program must not act as one and say another."""
        return name is None or name in ANYBODY or name.casefold() == self.subject.username.casefold()


Principal = Session | Program


class RefusedPage(NamedTuple):
    """What the refused page shows. `application` is empty for visitors who must not learn its name."""

    decision_id: str
    target: Target
    application: str = ""
    username: str = ""
    reason: str = ""
    languages: str = ""
    """What the browser would like to read, as in Accept-Language (RFC 9110, section 12.5.4)."""
    text: str = ""
    """The application's own words."""
    prefix: str = ""
    """Where the origin has its page `start`, if a visitor who is not signed in may be an owner."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    portal_origin: str
    trusted_proxies: tuple[str, ...]
    forwarded_hops: int
    checks: dict[str, Contract]
    state_keys: tuple[bytes, ...]
    render_refused: Callable[[RefusedPage], bytes]
    render_framed: Callable[[str, str], bytes]
    """Returns the page for a frame, of the address that its link opens and an Accept-Language."""

    shared_domains: tuple[str, ...] = ()
    """Domains below which one gate cookie counts for all origins; none lies below another."""


class Signs(Protocol):
    """What signs an identity; false where it has no key yet."""

    def sign(self, claims: dict[str, Any], now: float) -> bytes: ...

    def __bool__(self) -> bool: ...


class Memory:
    """What was loaded for one request: nothing of it is known before."""

    def __init__(self, settings: GateSettings, random: Callable[[int], bytes] = os.urandom) -> None:
        self.settings = settings
        self.random = random
        self.applications: dict[str, Application | None] = {}
        self.sessions: dict[bytes, Principal | None] = {}
        self.at_several_ports: set[str] = set()
        self.issuers: frozenset[str] | Unknown = UNKNOWN
        self.signer: Signs | None = None
        self.tallies: Counts | None = None
        self.public: Kept = {}
        """Answers to visitors who are not signed in, ready made."""

    def tally(self, context: Context, subject: Subject | None, decision: Decision, outcome: str) -> Tally:
        """Return what counts an answer that is not kept."""
        if self.tallies is None:
            return NOT_COUNTED
        application = context.application
        if application.watched:
            self.tallies.watch(context, subject)
        person = NOBODY if subject is None else subject.user_id
        return self.tallies.once(application.id, person, decision, context.target.method, outcome)

    def is_throttled(self, client: str, key: bytes, now: float) -> bool:
        """Return whether an address had too many wrong credentials to look up another one now."""
        return False

    def note_wrong(self, client: str, now: float) -> None:
        """Remember that a credential which had to be looked up was wrong."""

    def is_at_several_ports(self, origin: str) -> bool:
        """Return whether another port of this origin's host belongs to another application."""
        return origin in self.at_several_ports

    def application(self, origin: str) -> Application | Unknown | None:
        """Return the application that claims an origin, or None."""
        return self.applications.get(origin, UNKNOWN)

    def session(self, key: bytes, now: float) -> Principal | Unknown | None:
        """Return what a credential of that key stands for, None if nothing."""
        return self.sessions.get(key, UNKNOWN)
