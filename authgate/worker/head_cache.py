"""What a worker remembers of the heads of checks: how they read, whatever path they ask for.

A browser's requests differ in their path, in Referer and in a few headers that no check reads. To read the
rest of a head costs more than to decide. So how a head reads is kept under SHA-256 of its bytes without those
values. No secret is kept, and no decision: session, rules and lifetimes are looked up for each check.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import NamedTuple

from authgate.check.context import Context, ReadCredentials
from authgate.check.contracts import Contract
from authgate.check.cookies import cookie_name
from authgate.check.credentials import Credential, credential_in, gate_credential, plain_token_key
from authgate.check.memory import Memory, Unknown
from authgate.check.pipeline import answer, read
from authgate.check.query import Query
from authgate.check.request import Browser, Facts, RequestHeaders
from authgate.check.responses import Answer
from authgate.check.target import BadTarget, Target, uri_and_plain_path

LIMIT = 4_096
"""Heads of one generation, of which there are two. Each takes about a kilobyte."""

LONGEST = 8_192
"""Bytes of a head that is worth remembering."""

_HEADER = b"\r\nx-forwarded-uri: "
_AUTHORIZATION = b"\r\nauthorization: "
_REFERERS = (b"\r\nReferer: ", b"\r\nreferer: ")
UNREAD = ("If-None-Match", "If-Modified-Since", "Range", "X-Request-Id", "Traceparent", "X-Correlation-Id")
"""Headers that no check reads, and that differ from one request of a page to the next."""

_UNREAD = tuple(f"\r\n{spelt}: ".encode() for name in UNREAD for spelt in (name, name.lower()))
_PLAIN_VALUE = re.compile(rb"[\x21-\x7e]+")
_PLAIN_TEXT = re.compile(rb"[\x20-\x7e]*")
_END = b"\r\n"
_NO_HEADERS = RequestHeaders({})


@dataclass(frozen=True, slots=True)
class Head:
    """How a check's head reads without its path.

    If Authorization is the application's own, `authorization` is where its value stands, and `issuers` are
    those by whose names no JWT of ours was found in it.
    """

    contract: Contract
    origin: str
    method: str | None
    client: str
    query: Query
    browser: Browser
    credentials: ReadCredentials
    has_nonce: bool
    authorization: slice | None = None
    issuers: frozenset[str] | None = None


class Parts(NamedTuple):
    """A head in parts: what it is known by, what of it is constant, its path, and a Referer cut out of it."""

    known_by: bytes
    constant: bytes
    path: bytes
    referer: bytes | None


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
        found.browser,
        ReadCredentials(credential, None),
        nonce in headers.values.get(b"cookie", b""),
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
    if application is None or isinstance(application, Unknown):
        return None
    if head.issuers is not None and head.issuers != memory.issuers:
        return None
    try:
        uri, plain_path = uri_and_plain_path(parts.path)
    except BadTarget:
        return None
    target = Target(head.origin, head.method, uri, head.client, plain_path)
    credentials, browser = head.credentials, head.browser
    if head.authorization is not None:
        credentials = ReadCredentials(credentials.ours, parts.constant[head.authorization])
    if parts.referer is not None:
        browser = Browser(*browser[:5], parts.referer.decode("ascii"), browser.languages)
    context = Context(head.contract, target, head.query, application, _NO_HEADERS, now, browser, credentials)
    found = answer(context, memory)
    if not isinstance(found, Answer) or (head.has_nonce and found.status != 200):
        return None  # the browser's own nonce goes on, which is not kept here
    return found


def path_header_in(octets: bytes) -> bytes:
    """Return what stands before the path in this head, as its sender spells it; empty without one."""
    at = octets.lower().find(_HEADER)
    return octets[at : at + len(_HEADER)] if at >= 0 else b""


def parted(octets: bytes, path_header: bytes, unread: tuple[bytes, ...] = ()) -> Parts | None:
    """Return the parts of a head, or None for one that is not remembered. `unread` is from `unread_in`.

    A Referer is a part only in the plainest form. What it leaves is marked, so that nothing else is known by
    the same key: no value holds a line's end.
    """
    before, found, rest = octets.partition(path_header)
    path, end, after = rest.partition(_END)
    if not end or len(octets) > LONGEST:
        return None
    constant = b"".join((before, found, end, after))
    for name in unread:
        constant = _without(name, constant)
    for name in _REFERERS:
        before, found, rest = constant.partition(name)
        if found:
            referer, end, after = rest.partition(_END)
            if not end or not _PLAIN_VALUE.fullmatch(referer):
                break
            constant = b"".join((before, found, end, after))
            return Parts(sha256(constant).digest() + b"r", constant, path, referer)
    return Parts(sha256(constant).digest(), constant, path, None)


def _without(name: bytes, constant: bytes) -> bytes:
    """Return a head without the plain value of a header. Its name stays, so that no line joins another."""
    before, found, rest = constant.partition(name)
    value, end, after = rest.partition(_END)
    return b"".join((before, found, end, after)) if end and _PLAIN_TEXT.fullmatch(value) else constant


def unread_in(octets: bytes) -> tuple[bytes, ...]:
    """Return which of the headers that no check reads a head has, as its sender spells them."""
    return tuple(name for name in _UNREAD if name in octets)


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
