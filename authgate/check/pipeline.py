"""The check: one pure function from a request's facts and what is in memory to the answer.

contract → target → session → rules → decision → answer; read on in contracts, target, decision, answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256
from urllib.parse import unquote_plus

from authgate.check import responses as answer
from authgate.check.contracts import (
    ALLOW_PORTAL,
    ENDPOINTS,
    REDIRECT,
    Contract,
    Facts,
    allows_portal,
    port_named,
    site_named,
)
from authgate.check.cookies import cookie_in, cookies_of, place_of
from authgate.check.credentials import credential_in, plain_token_key
from authgate.check.decision import ALLOW, REFUSE, SIGN_IN, STEP_UP, Application, Decision, Filters, decide
from authgate.check.memory import ANSWERS_LIMIT, UNKNOWN, Machine, Memory, Session, Unknown
from authgate.check.responses import Answer, Asking
from authgate.check.target import (
    BadTarget,
    Target,
    code_in,
    in_ascii,
    is_on_same_host,
    is_within,
    without_code,
)

FILTER_NAMES = frozenset(("allowed_groups", "allowed_emails", "allowed_email_domains"))


class Need(Enum):
    APPLICATION = "application"
    SESSION = "session"
    CREDENTIAL = "credential"
    ISSUERS = "issuers"
    SIGNER = "signer"
    TOKENS = "tokens"
    CODE = "code"
    PAGE = "page"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class Missing:
    """What memory cannot answer: a row to load (by `key`), a code to take, a page to keep, or an endpoint."""

    need: Need
    key: str | bytes
    asking: Asking | None = None
    session: Session | None = None


def check(facts: Facts, memory: Memory) -> Answer | Missing:
    """Answer a check, or say what is missing from memory to answer it."""
    settings = memory.settings
    contract = settings.checks[facts.path]
    if facts.peer is not None and not is_within(facts.peer, settings.trusted_proxies):
        return answer.misconfigured(
            contract, memory, "peer is no trusted proxy", status=403, client=facts.peer
        )
    try:
        target = contract.read(facts, settings.forwarded_hops)
    except BadTarget as problem:
        return _unreadable(contract, facts, memory, str(problem))
    filters: Filters | str | None = None
    if facts.query and contract.has_filters:
        filters = filters_from(facts.query, contract.parameters)
    if isinstance(filters, str):
        return answer.misconfigured(contract, memory, filters, status=403, origin=target.origin)
    if target.origin == settings.portal_origin:
        return _at_the_portal(contract, target, facts, memory)
    if is_on_same_host(target.origin, settings.portal_origin):
        return answer.on_the_portals_host(contract, memory, target)
    return _check_target(contract, target, facts, filters, memory)


def _unreadable(contract: Contract, facts: Facts, memory: Memory, reason: str) -> Answer | Missing:
    """Refuse a check that cannot be read. Only an application's site is named: clients write any host."""
    site = site_named(contract, facts.headers)
    application = memory.application(site) if site else None
    if application is UNKNOWN:
        return Missing(Need.APPLICATION, site)
    origin = site if application is not None else ""
    status = answer.bad_contract_status(contract)
    return answer.misconfigured(contract, memory, reason, status=status, origin=origin)


def _at_the_portal(contract: Contract, target: Target, facts: Facts, memory: Memory) -> Answer:
    """Let the portal's own pages through, which guard themselves, where the check's URL says that they are.

    Whoever asks writes the name. A proxy that serves the portal nowhere takes it for one of an application,
    as nginx's first server, a catch-all router and a wildcard take any: there it would open everything.
    """
    if not contract.has_filters or not allows_portal(facts.query):
        return answer.misconfigured(
            contract,
            memory,
            "the portal's own origin",
            status=403,
            origin=target.origin,
            client=target.client,
        )
    return _with_authorization(answer.allow(answer.identity_headers(None, None)), contract, facts, memory)


def _check_target(
    contract: Contract, target: Target, facts: Facts, filters: Filters | None, memory: Memory
) -> Answer | Missing:
    application = memory.application(target.origin)
    if application is UNKNOWN:
        return Missing(Need.APPLICATION, target.origin)
    if application is None:
        return answer.misconfigured(
            contract, memory, "unknown origin", status=403, origin=target.origin, client=target.client
        )
    if not contract.believes_port and _chooses_by_port(contract, target, facts, memory):
        return answer.misconfigured(
            contract, memory, "host of several applications", status=403, origin=target.origin
        )
    if contract.style is REDIRECT and target.uri is not None:
        if is_endpoint(contract, target.uri):
            return Missing(Need.ENDPOINT, target.path or "", asking_of(contract, target, facts))
        if "ikdcode=" in target.uri and code_in(target.uri) is not None:
            return _with_code(asking_of(contract, target, facts), application)
    if b"authorization" in facts.headers.values:
        found = _with_credential(contract, target, facts, application, filters, memory)
        if found is not None:
            return found
    session = _session(target, facts, memory)
    if isinstance(session, Missing):
        return session
    return _decided(contract, target, facts, application, session, filters, memory)


def _chooses_by_port(contract: Contract, target: Target, facts: Facts, memory: Memory) -> bool:
    """Tell whether the client could choose an application by a port that it merely wrote into its Host.

    Where the check's query is the browser's, it names no port: whoever wrote the one could write the other.
    """
    if not memory.is_at_several_ports(target.origin):
        return False
    return "port" not in contract.parameters or port_named(facts.query) is None


def _with_credential(
    contract: Contract,
    target: Target,
    facts: Facts,
    application: Application,
    filters: Filters | None,
    memory: Memory,
) -> Answer | Missing | None:
    """Judge a credential of ours alone, whatever cookie came with it; None where Authorization holds none."""
    key = plain_token_key(facts.headers)
    held = memory.session(key, facts.now) if key is not None else None
    if isinstance(held, Machine) and held.opens(application.id, None, facts.now):
        return _decided(contract, target, facts, application, held, filters, memory)
    if isinstance(memory.issuers, Unknown):
        return Missing(Need.ISSUERS, "")
    credential = credential_in(facts.headers, memory.issuers)
    if credential is None:
        return None
    machine = memory.session(credential.key, facts.now) if credential.key else None
    if machine is UNKNOWN and not memory.is_throttled(target.client, credential.key, facts.now):
        return Missing(Need.CREDENTIAL, credential.key, asking_of(contract, target, facts))
    if isinstance(machine, Machine) and machine.opens(application.id, credential.name, facts.now):
        return _decided(contract, target, facts, application, machine, filters, memory)
    return answer.wrong_credential(asking_of(contract, target, facts), memory, application)


def is_endpoint(contract: Contract, uri: str) -> bool:
    """Tell whether a redirect-style check is asked about one of our own endpoints."""
    if not uri.startswith(contract.prefix):
        return False
    return uri.partition("?")[0].removeprefix(f"{contract.prefix}/") in (*ENDPOINTS, "sign_in")


def _with_code(asking: Asking, application: Application) -> Answer | Missing:
    """Never let a code through to the application, and never let a foreign hand use it up."""
    target = asking.target
    if not asking.navigates or target.method not in ("GET", "HEAD"):
        return answer.unauthorized(asking, application, to_a_program=True)
    if target.method == "HEAD" or asking.prefetches:
        return answer.redirect(target.origin + without_code(target.uri or "/"))
    return Missing(Need.CODE, code_in(target.uri or "") or "", asking)


def _session(target: Target, facts: Facts, memory: Memory) -> Session | Missing | None:
    """Find the live gate session of this browser on this very origin, or in its shared cookie domain."""
    place, digest = cookie_key(target.origin, facts, memory)
    if digest is None:
        return None
    session = memory.session(digest, facts.now)
    if session is UNKNOWN:
        return Missing(Need.SESSION, digest)
    if session is None or session.origin != place or not session.is_live(facts.now):
        return None
    return session


def cookie_key(origin: str, facts: Facts, memory: Memory) -> tuple[str, bytes | None]:
    """Give where gate sessions of an origin count, and the digest of the cookie that came for one, if any."""
    line = facts.headers.values.get(b"cookie")
    if line is None:
        return origin, None
    place = place_of(origin, memory.settings.shared_domains)
    token = cookie_in(line, answer.gate_name(place))
    return place, sha256(token).digest() if token else None


def _decided(
    contract: Contract,
    target: Target,
    facts: Facts,
    application: Application,
    session: Session | None,
    filters: Filters | None,
    memory: Memory,
) -> Answer | Missing:
    subject = session.subject if session else None
    decision = decide(application, target, subject, facts.now, filters)
    if decision.verdict is ALLOW:
        allowed = answer_allowing(application, session, target.origin, facts.now, memory)
        if isinstance(allowed, Missing) or (allowed is not None and isinstance(session, Machine)):
            return allowed
        if allowed is not None:
            # What a client sent must not stand where an application takes the upstream's word.
            return allowed if application.id_token else _with_authorization(allowed, contract, facts, memory)
        reason = answer.TOKENS_TOO_LONG if _gets_tokens(application) else answer.IDENTITY_TOO_LONG
        decision = Decision(REFUSE, reason)
    asking = asking_of(contract, target, facts)
    if isinstance(session, Machine):
        # A program is refused what needs a second factor: nobody sits there who could give one.
        asking = replace(asking, navigates=False)
        return answer.refuse(asking, memory, application, subject, decision)
    if decision.verdict in (SIGN_IN, STEP_UP):
        return answer.ask_to_sign_in(asking, memory, application) or Missing(Need.PAGE, "", asking)
    return answer.refuse(asking, memory, application, subject, decision)


def answer_allowing(
    application: Application, session: Session | None, origin: str, now: float, memory: Memory
) -> Answer | Missing | None:
    """Give the answer that lets this session into this application; made once, then kept with the session."""
    if session is not None:
        kept = session.allowed.get(origin)
        if kept is not None and kept[0] is application and now < kept[2]:
            return kept[1]
    headers, good_until = answer.identity_headers(application, session.subject if session else None), math.inf
    if application.identity_jwt and session is None:
        headers += ((b"x-ikd-jwt", b""),)
    elif application.identity_jwt and session is not None:
        if not memory.signer:
            return Missing(Need.SIGNER, "")
        claims = answer.identity_claims(memory.settings.portal_origin, origin, application, session, now)
        headers += ((b"x-ikd-jwt", memory.signer.sign(claims, now)),)
        good_until = now + answer.IDENTITY_LIFETIME / 2
    if _gets_tokens(application):
        tokens = session.tokens if session is not None else None
        if session is not None and not isinstance(session, Machine):
            if tokens is None or now >= tokens.good_until:
                return Missing(Need.TOKENS, b"", session=session)
            good_until = min(good_until, tokens.good_until)
        headers += answer.token_headers(application, tokens)
    if answer.is_too_long(headers):
        return None
    if session is None:
        return answer.allow(headers)
    made = answer.allow(headers, session.sign_in_id)
    if isinstance(session, Machine):
        ours = () if application.id_token else answer.OURS
        made = answer.allow(headers + ours, token_id=session.token_id)
    if len(session.allowed) >= ANSWERS_LIMIT:
        session.allowed.clear()
    session.allowed[origin] = (application, made, good_until)
    return made


def _gets_tokens(application: Application) -> bool:
    return application.access_token or application.id_token


def _with_authorization(allowed: Answer, contract: Contract, facts: Facts, memory: Memory) -> Answer:
    """Give the answer with the application's own Authorization, where there is one."""
    value = facts.headers.values.get(b"authorization")
    if value is None:
        return allowed
    found = answer.with_authorization(allowed, contract, value)
    return found or answer.misconfigured(contract, memory, "authorization cannot be given back", status=403)


def asking_of(contract: Contract, target: Target, facts: Facts) -> Asking:
    """Gather how the browser asked; a hint that came twice is joined, and so no hint of a navigation."""
    hints = facts.headers.values
    return Asking(
        contract,
        target,
        navigates=_navigates(hints),
        prefetches=b"prefetch" in hints.get(b"sec-purpose", b"") + hints.get(b"purpose", b""),
        cookies=cookies_of(hints.get(b"cookie", b"")),
        referer=in_ascii(hints.get(b"referer", b"").decode("latin-1")),
        languages=hints.get(b"accept-language", b"").decode("latin-1"),
        now=facts.now,
        is_browser=_is_browser(hints),
        is_framed=hints.get(b"sec-fetch-dest") in answer.FRAMES,
        is_cross_site=hints.get(b"sec-fetch-site") == b"cross-site",
    )


FETCH_METADATA = (b"sec-fetch-mode", b"sec-fetch-dest", b"sec-fetch-site")


def _navigates(hints: dict[bytes, bytes]) -> bool:
    """Return whether a browser opens a page: by Fetch Metadata, else by Accept and X-Requested-With.

    Browsers send Fetch Metadata to https only. An Android WebView names its app in X-Requested-With.
    """
    if b"sec-websocket-key" in hints:
        return False
    if any(name in hints for name in FETCH_METADATA):
        return hints.get(b"sec-fetch-mode") == b"navigate"
    return b"text/html" in hints.get(b"accept", b"").lower() and not _is_by_script(hints)


def _is_by_script(hints: dict[bytes, bytes]) -> bool:
    requested_with = hints.get(b"x-requested-with", b"").lower().split(b",")
    return any(each.strip() == b"xmlhttprequest" for each in requested_with)


def _is_browser(hints: dict[bytes, bytes]) -> bool:
    """Return whether a browser may have sent this: all of them begin User-Agent with Mozilla/ by now."""
    if not hints.keys().isdisjoint((*FETCH_METADATA, b"origin", b"sec-websocket-key")):
        return True
    if b"text/html" in hints.get(b"accept", b"").lower() or _is_by_script(hints):
        return True
    return hints.get(b"user-agent", b"").lower().startswith(b"mozilla/")


def filters_from(query: str, parameters: frozenset[str] = frozenset()) -> Filters | str | None:
    """Read the filters of a check's own query, None for none; give the fault as text for whatever else.

    `parameters` are the contract's own, which it reads itself; `allows_portal` reads the other one.
    """
    found: dict[str, list[str]] = {}
    for parameter in query.split("&") if query else ():
        name, _, value = parameter.partition("=")
        if name in parameters:
            continue
        entries = [entry for entry in unquote_plus(value, errors="surrogateescape").split(",") if entry]
        if name not in FILTER_NAMES and name != ALLOW_PORTAL:
            return "unknown parameter in the check's URL"
        if name in found:
            return f"{name} repeated"
        if not entries:
            return f"{name} empty"
        if name == ALLOW_PORTAL and value != "true":
            return f"{name} other than true"
        found[name] = entries
    if FILTER_NAMES.isdisjoint(found):
        return None
    return Filters(
        frozenset(found["allowed_groups"]) if "allowed_groups" in found else None,
        frozenset(found["allowed_emails"]) if "allowed_emails" in found else None,
        tuple(found["allowed_email_domains"]) if "allowed_email_domains" in found else None,
    )
