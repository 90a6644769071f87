"""What a worker remembers of the heads of checks: how they read, whatever path they ask for.

A browser's requests differ in their path, in Referer and in a few headers that no check reads. To read the
rest of a head costs more than to decide. So how a head reads is kept under SHA-256 of its bytes without those
values. No secret is kept, and no decision: session, rules and lifetimes are looked up for each check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from authgate.check.context import Context, KnownHead
from authgate.check.contracts import Contract
from authgate.check.credentials import Credential, credential_in, gate_credential, plain_token_key
from authgate.check.memory import UNKNOWN, Memory, Unknown
from authgate.check.pipeline import answer, read
from authgate.check.query import Query
from authgate.check.request import Facts, RequestHeaders
from authgate.check.responses import Answer
from authgate.cookies import cookie_name
from authgate.counters import known_checks
from authgate.decision.target import BadTarget, Target, uri_and_plain_path
from authgate.worker.head_parts import Parts

LIMIT = 4_096
"""Heads of one generation, of which there are two. Each takes about a kilobyte."""

_AUTHORIZATION = b"\r\nauthorization: "
_END = b"\r\n"
_NO_HEADERS = RequestHeaders({})
_new = tuple.__new__


@dataclass(frozen=True, slots=True)
class Head:
    """How a check's head reads without its path.

    If Authorization is the application's own, `authorization` is where its value stands, and `issuers` are
    those by whose names no JWT of ours was found in it. `let_in` counts the checks that a session let in.
    """

    contract: Contract
    origin: str
    method: str | None
    client: str
    query: Query
    known: KnownHead
    has_nonce: bool
    let_in: list[float]
    authorization: slice | None = None
    issuers: frozenset[str] | None = None


def head_of(facts: Facts, memory: Memory, parts: Parts) -> Head | None:
    """Return how the head of an answered check reads; None if it is not to be remembered.

    That is a head whose path stands elsewhere, one that is refused whatever it asks for, and one with a
    program's credential other than a plain API token.
    """
    found = read(facts, memory)
    if not isinstance(found, Context) or not found.contract.reads_forwarded_uri:
        return None
    headers, target = found.headers, found.target
    if headers.values.get(b"x-forwarded-uri") != parts.path:
        return None  # a folded line
    if parts.referer is not None and headers.values.get(b"referer") != parts.referer:
        return None
    authorization, issuers = None, None
    credential = gate_credential(headers, target.origin, memory.settings.shared_domains)
    if b"authorization" in headers.values:
        key = plain_token_key(headers)
        if key is not None:
            credential = Credential(key)
        elif isinstance(memory.issuers, Unknown) or credential_in(headers, memory.issuers) is not None:
            return None
        else:
            issuers = memory.issuers
            authorization = _where(parts.constant, headers.values[b"authorization"])
            if authorization is None:
                return None
    nonce = cookie_name(target.origin, "nonce").encode("ascii")
    return Head(
        found.contract,
        target.origin,
        target.method,
        target.client,
        found.query,
        KnownHead(credential, found.browser),
        nonce in headers.values.get(b"cookie", b""),
        known_checks.cell(found.contract.name),
        authorization,
        issuers,
    )


def _where(constant: bytes, value: bytes) -> slice | None:
    """Return where the value of Authorization stands in a head; None if that is not plain."""
    lower = constant.lower()
    start = lower.find(_AUTHORIZATION) + len(_AUTHORIZATION)
    end = start + len(value)
    if lower.count(_AUTHORIZATION) != 1 or constant[start : end + 2] != value + _END:
        return None
    return slice(start, end)


def check_again(head: Head, parts: Parts, now: float, memory: Memory) -> Answer | None:
    """Answer a check whose head, without its path, reads as one before; None if `check` has to answer.

    Nothing is taken from what was answered then: application, session and rules are looked up again. The
    caller knows that the peer is trusted.
    """
    application = memory.application(head.origin)
    if application is None or application is UNKNOWN:
        return None
    if head.issuers is not None and head.issuers != memory.issuers:
        return None
    try:
        uri, plain_path = uri_and_plain_path(parts.path)
    except BadTarget:
        return None
    known = head.known
    if head.authorization is not None:
        known = _new(KnownHead, (*known[:2], parts.constant[head.authorization], None))
    if parts.referer is not None:
        known = _new(KnownHead, (*known[:3], parts.referer))
    # A NamedTuple's own constructor takes twice as long.
    target = _new(Target, (head.origin, head.method, uri, head.client, plain_path))
    context = _new(Context, (head.contract, target, head.query, application, _NO_HEADERS, now, None, known))
    found = answer(context, memory)
    if not isinstance(found, Answer) or (head.has_nonce and found.status != 200):
        return None  # the browser's own nonce goes on, which is not kept here
    return found


class Noted(Enum):
    """What is remembered of a head that is not read, or cannot be."""

    ONCE = "once"
    UNFIT = "unfit"


class Generations:
    """Heads by what they are known by. Of two generations the older one goes when the newer is full."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._older: dict[bytes, Head | Noted] = {}
        self._begin()

    def _begin(self) -> None:
        self._newer: dict[bytes, Head | Noted] = {}
        self.newest = self._newer.get

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def get(self, known_by: bytes) -> Head | Noted | None:
        found = self._newer.get(known_by)
        if found is None:
            found = self._older.get(known_by)
            if found is not None:
                self.keep(known_by, found)
        return found

    def keep(self, known_by: bytes, noted: Head | Noted) -> None:
        if len(self._newer) >= self._limit:
            self._older = self._newer
            self._begin()
        self._newer[known_by] = noted


class Heads:
    """The heads that a worker remembers. Those that were turned away push out none that was let in."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._let_in, self._turned_away = Generations(limit), Generations(limit)

    def __len__(self) -> int:
        return len(self._let_in) + len(self._turned_away)

    def get(self, known_by: bytes) -> Head | None:
        found = self._let_in.newest(known_by)
        if found.__class__ is Head:
            return found
        if found is None:
            found = self._let_in.get(known_by) or self._turned_away.get(known_by)
        return found if isinstance(found, Head) else None

    def note(self, known_by: bytes, read: Callable[[], Head | None], *, was_let_in: bool = True) -> None:
        """Remember a head that was just answered: that it came, and how it reads once it came again.

        Many come only once, and to keep those costs little.
        """
        generations = self._let_in if was_let_in else self._turned_away
        noted = generations.get(known_by)
        if noted is None:
            generations.keep(known_by, Noted.ONCE)
        elif noted is Noted.ONCE:
            generations.keep(known_by, read() or Noted.UNFIT)
