"""The check: one pure function from a request's facts and what is in memory to the answer.

contract → target → session → rules → decision → answer; read on in contracts, target, decision, answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote_plus

from authgate import answer
from authgate.answer import Answer, Asking
from authgate.contracts import ENDPOINTS, Contract, Style, values_of
from authgate.cookies import cookies_in
from authgate.decision import NO_FILTERS, Application, Decision, Filters, Verdict, decide
from authgate.memory import Memory, Session
from authgate.target import BadTarget, Target, code_in, in_ascii, is_within, without_code

HINTS = frozenset(
    (
        b"accept",
        b"purpose",
        b"referer",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-purpose",
        b"sec-websocket-key",
        b"x-requested-with",
    )
)
FILTER_NAMES = ("allowed_groups", "allowed_emails", "allowed_email_domains")


@dataclass(frozen=True, slots=True)
class Facts:
    """A check as it came in: the path and query of its own URL, the raw header list with lower-case
    names, the socket's other end (None for a Unix socket), Unix time, and its own method."""

    path: str
    query: str
    headers: Sequence[tuple[bytes, bytes]]
    peer: str | None
    now: float
    method: str = "GET"


class Need(Enum):
    APPLICATION = "application"
    SESSION = "session"
    CODE = "code"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class Missing:
    """What memory cannot answer: a row to load (by `key`), a code to take, an endpoint to run."""

    need: Need
    key: str | bytes
    asking: Asking | None = None


def check(facts: Facts, memory: Memory) -> Answer | Missing:
    """Answer a check, or say what is missing from memory to answer it."""
    settings = memory.settings
    contract = settings.checks[facts.path]
    if facts.peer is not None and not is_within(facts.peer, settings.trusted_proxies):
        return answer.misconfigured(
            contract, memory, "peer is no trusted proxy", status=403, client=facts.peer
        )
    try:
        target = contract.read(values_of(facts.headers, contract.headers), settings.forwarded_hops)
    except BadTarget as problem:
        status = answer.bad_contract_status(contract)
        return answer.misconfigured(contract, memory, str(problem), status=status)
    filters = filters_from(facts.query)
    if isinstance(filters, str):
        return answer.misconfigured(contract, memory, filters, status=403, origin=target.origin)
    if target.origin == settings.portal_origin:
        return answer.allow(answer.identity_headers(None, None))
    return _check_target(asking_of(contract, target, facts), filters, memory)


def _check_target(asking: Asking, filters: Filters, memory: Memory) -> Answer | Missing:
    contract, target = asking.contract, asking.target
    if target.origin not in memory.applications:
        return Missing(Need.APPLICATION, target.origin)
    application = memory.applications[target.origin]
    if application is None:
        return answer.misconfigured(
            contract, memory, "unknown origin", status=403, origin=target.origin, client=target.client
        )
    if contract.style is Style.REDIRECT and target.path is not None:
        if target.path.removeprefix(f"{contract.prefix}/") in (*ENDPOINTS, "sign_in"):
            return Missing(Need.ENDPOINT, target.path, asking)
        if code_in(target.uri or "") is not None:
            return _with_code(asking)
    session = _session(asking, memory)
    if isinstance(session, Missing):
        return session
    return _decided(asking, application, session, filters, memory)


def _with_code(asking: Asking) -> Answer | Missing:
    """Never let a code through to the application, and never let a foreign hand use it up."""
    target = asking.target
    if not asking.navigates or target.method not in ("GET", "HEAD"):
        return answer.unauthorized(asking, to_a_program=True)
    if target.method == "HEAD" or asking.prefetches:
        return answer.redirect(target.origin + without_code(target.uri or "/"))
    return Missing(Need.CODE, code_in(target.uri or "") or "", asking)


def _session(asking: Asking, memory: Memory) -> Session | Missing | None:
    """Find the live gate session of this browser on this very origin."""
    token = asking.cookies.get(answer.cookie_name(asking.target.origin, "gate"), "")
    if not token:
        return None
    digest = hashlib.sha256(token.encode("latin-1")).digest()
    if digest not in memory.sessions:
        return Missing(Need.SESSION, digest)
    session = memory.sessions[digest]
    if session is None or session.origin != asking.target.origin or not session.is_live(asking.now):
        return None
    return session


def _decided(
    asking: Asking, application: Application, session: Session | None, filters: Filters, memory: Memory
) -> Answer:
    subject = session.subject if session else None
    decision = decide(application, asking.target, subject, asking.now, filters)
    if decision.verdict in (Verdict.SIGN_IN, Verdict.STEP_UP):
        return answer.ask_to_sign_in(asking, memory)
    if decision.verdict is Verdict.ALLOW:
        headers = answer.identity_headers(application, subject)
        if not answer.is_too_long(headers):
            return answer.allow(headers, session.sign_in_id if session else None)
        decision = Decision(Verdict.REFUSE, answer.IDENTITY_TOO_LONG)
    return answer.refuse(asking, memory, application, subject, decision)


def asking_of(contract: Contract, target: Target, facts: Facts) -> Asking:
    """Gather how the browser asked; a hint that came twice is no hint of a navigation."""
    hints: dict[bytes, bytes] = {}
    for name, value in facts.headers:
        if name in HINTS:
            hints[name] = hints[name] + b", " + value if name in hints else value
    return Asking(
        contract,
        target,
        navigates=_navigates(hints),
        prefetches=b"prefetch" in hints.get(b"sec-purpose", b"") + hints.get(b"purpose", b""),
        cookies=cookies_in(facts.headers),
        referer=in_ascii(hints.get(b"referer", b"").decode("latin-1")),
        now=facts.now,
    )


def _navigates(hints: dict[bytes, bytes]) -> bool:
    """Tell a page being opened from a program's request: Fetch Metadata, else Accept and X-Requested-With."""
    if b"sec-websocket-key" in hints:
        return False
    if any(name in hints for name in (b"sec-fetch-mode", b"sec-fetch-dest", b"sec-fetch-site")):
        return hints.get(b"sec-fetch-mode") == b"navigate"
    return b"text/html" in hints.get(b"accept", b"").lower() and b"x-requested-with" not in hints


def filters_from(query: str) -> Filters | str:
    """Read the filters of a check's own query; give the fault as text for whatever else stands there."""
    if not query:
        return NO_FILTERS
    found: dict[str, list[str]] = {}
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        entries = [entry for entry in unquote_plus(value, errors="surrogateescape").split(",") if entry]
        if name not in FILTER_NAMES:
            return "unknown parameter in the check's URL"
        if name in found:
            return f"{name} repeated"
        if not entries:
            return f"{name} empty"
        found[name] = entries
    return Filters(
        frozenset(found["allowed_groups"]) if "allowed_groups" in found else None,
        frozenset(found["allowed_emails"]) if "allowed_emails" in found else None,
        tuple(found["allowed_email_domains"]) if "allowed_email_domains" in found else None,
    )
