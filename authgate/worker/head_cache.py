"""A cache of parsed request heads, independent of the path.

A browser's requests differ in their path, in Referer and in a few headers that no check reads. Parsing the
rest of a head takes longer than deciding. So each worker caches the parsed head under the SHA-256 of its
bytes without those values. The cache holds no secret and no decision: each check looks up session, rules and
lifetimes again.
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
"""Heads in one generation. The cache has two generations, and a head takes about a kilobyte."""

_AUTHORIZATION = b"\r\nauthorization: "
_END = b"\r\n"
_NO_HEADERS = RequestHeaders({})
_new = tuple.__new__


@dataclass(frozen=True, slots=True)
class Head:
    """A check's parsed head without its path.

    If Authorization belongs to the application, `authorization` is the position of its value. `issuers` are
    the issuers at that time: none of them had issued a JWT in it. `let_in` counts the checks that a session
    let in.
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
    """Return the parsed head of an answered check; None if it must not be cached.

    A head is not cached if it does not contain the path in X-Forwarded-Uri, or if it is refused for any path.
    Of programs' credentials, only plain API tokens are cached.
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
    """Return the position of Authorization's value in a head; None if it cannot be found for certain."""
    lower = constant.lower()
    start = lower.find(_AUTHORIZATION) + len(_AUTHORIZATION)
    end = start + len(value)
    if lower.count(_AUTHORIZATION) != 1 or constant[start : end + 2] != value + _END:
        return None
    return slice(start, end)


def check_known_head(head: Head, parts: Parts, now: float, memory: Memory) -> Answer | None:
    """Return the answer to a check that has a cached head, or None if `check` must answer it.

    Earlier answers are not reused: application, session and rules are looked up again. The caller ensures
    that the peer is trusted.
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
        return None  # such an answer continues with the browser's own nonce, which is not cached
    return found


class Noted(Enum):
    """A mark for a head that is not cached: it came once, or it is unfit."""

    ONCE = "once"
    UNFIT = "unfit"


class Generations:
    """Heads by their key, in two generations. If the newer is full, the older is dropped."""

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
    """The heads that a worker caches. Refused heads are kept apart, so that they displace no admitted one."""

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
        """Note a head that was just answered. `read` parses it for the cache when it comes a second time.

        Many heads come only once. To note one of those costs little.
        """
        generations = self._let_in if was_let_in else self._turned_away
        noted = generations.get(known_by)
        if noted is None:
            generations.keep(known_by, Noted.ONCE)
        elif noted is Noted.ONCE:
            generations.keep(known_by, read() or Noted.UNFIT)
