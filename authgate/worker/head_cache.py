"""What a worker remembers of the heads of checks: how they read, whatever path they ask for.

The requests of one page differ in their paths and hardly in anything else, and to read the rest of a head
costs more than to judge. So how a head reads is kept under SHA-256 of its octets, those of the path left out.
Nothing is kept that opens anything, and nothing that was decided: session, rules and lifetimes are looked up
for each check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from authgate.check.contracts import REDIRECT, Contract, Facts, port_named
from authgate.check.credentials import plain_token_key
from authgate.check.decision import ALLOW, Application, Filters, decide
from authgate.check.memory import Machine, Memory, Session, Unknown
from authgate.check.pipeline import answer_allowing, cookie_key, filters_from, is_endpoint
from authgate.check.responses import Answer
from authgate.check.target import BadTarget, Target, uri_and_plain_path

LIMIT = 4_096
"""Heads of one generation, of which there are two. Each takes about half a kilobyte."""

LONGEST = 8_192
"""Octets of a head that is worth remembering."""

_HEADER = b"\r\nx-forwarded-uri: "
_END = b"\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """How a check's head reads but for its path.

    `key` is the digest of the credential in it: of the cookie of a gate session at `place`, or of an API
    token where `place` is empty. It is None where there is neither.
    """

    contract: Contract
    origin: str
    method: str | None
    client: str
    filters: Filters | None
    names_port: bool
    place: str
    key: bytes | None


def head_of(facts: Facts, memory: Memory) -> Head | None:
    """Give how the head of a check reads that was let in; None for one that is not to be remembered.

    That is where the path stands elsewhere, or Authorization is anything but a plain API token.
    """
    settings = memory.settings
    contract = settings.checks[facts.path]
    if not contract.reads_forwarded_uri:
        return None
    target = contract.read(facts, settings.forwarded_hops)
    filters = filters_from(facts.query, contract.parameters)
    if target.origin == settings.portal_origin or isinstance(filters, str):
        return None
    place, key = "", None
    if b"authorization" in facts.headers.values:
        key = plain_token_key(facts.headers)
        if key is None:
            return None
    else:
        place, key = cookie_key(target.origin, facts, memory)
    names_port = "port" in contract.parameters and port_named(facts.query) is not None
    return Head(contract, target.origin, target.method, target.client, filters, names_port, place, key)


def check_again(head: Head, raw_uri: bytes, now: float, memory: Memory) -> Answer | None:
    """Let a check in whose head, but for its path, reads as one before; None where `check` has to answer.

    Nothing is taken from what was answered then: application, session and rules are asked anew. That the
    peer is trusted has to be known.
    """
    contract = head.contract
    try:
        uri, plain_path = uri_and_plain_path(raw_uri)
    except BadTarget:
        return None
    if contract.style is REDIRECT and ("ikdcode=" in uri or is_endpoint(contract, uri)):
        return None
    target = Target(head.origin, head.method, uri, head.client, plain_path)
    application = memory.application(head.origin)
    if not isinstance(application, Application):
        return None
    if not (contract.believes_port or head.names_port) and memory.is_at_several_ports(head.origin):
        return None
    session = None
    if head.key is not None:
        session = _live(memory.session(head.key, now), head.place, application, now)
        if session is None:
            return None
    subject = session.subject if session is not None else None
    if decide(application, target, subject, now, head.filters).verdict is not ALLOW:
        return None
    allowed = answer_allowing(application, session, head.origin, now, memory)
    return allowed if isinstance(allowed, Answer) else None


def _live(
    found: Session | Unknown | None, place: str, application: Application, now: float
) -> Session | None:
    """Give a session if it counts here and now: a cookie's at its own place, a token's where it opens."""
    if isinstance(found, Machine):
        return found if found.opens(application.id, None, now) else None
    if not isinstance(found, Session) or found.origin != place or not found.is_live(now):
        return None
    return found


def path_header_in(octets: bytes) -> bytes:
    """Give what stands before the path in this head, as its sender spells it; empty where nothing does."""
    at = octets.lower().find(_HEADER)
    return octets[at : at + len(_HEADER)] if at >= 0 else b""


def parted(octets: bytes, path_header: bytes) -> tuple[bytes, bytes] | None:
    """Give what a head is known by, and the path in it as sent; None for a head that is not remembered."""
    before, found, rest = octets.partition(path_header)
    path, end, after = rest.partition(_END)
    if not end or len(octets) > LONGEST:
        return None
    # No path holds a line's end: with `found` in its place nothing else has the same octets.
    return sha256(b"".join((before, found, after))).digest(), path


class Noted(Enum):
    """What is remembered of a head that is not read, or cannot be."""

    ONCE = "once"
    UNFIT = "unfit"


class Heads:
    """Heads by what they are known by. Of two generations the older one goes when the newer is full."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._newer: dict[bytes, Head | Noted] = {}
        self._older: dict[bytes, Head | Noted] = {}

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def get(self, known_by: bytes) -> Head | None:
        found = self._noted(known_by)
        return found if isinstance(found, Head) else None

    def note(self, known_by: bytes, read: Callable[[], Head | None]) -> None:
        """Remember a head that was just let in: that it came, and how it reads once it came again.

        Many come but once, and to keep those costs little.
        """
        noted = self._noted(known_by)
        if noted is None:
            self._keep(known_by, Noted.ONCE)
        elif noted is Noted.ONCE:
            self._keep(known_by, read() or Noted.UNFIT)

    def _noted(self, known_by: bytes) -> Head | Noted | None:
        found = self._newer.get(known_by)
        if found is None:
            found = self._older.get(known_by)
            if found is not None:
                self._keep(known_by, found)
        return found

    def _keep(self, known_by: bytes, noted: Head | Noted) -> None:
        if len(self._newer) >= self._limit:
            self._newer, self._older = {}, self._newer
        self._newer[known_by] = noted
