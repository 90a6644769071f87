"""The check, as a pure function of a request and a worker's memory.

Each step returns an answer, returns what memory lacks, or continues with the next step.
"""

from __future__ import annotations

from authgate.check import responses
from authgate.check.admission import admit, identity_headers, with_authorization
from authgate.check.context import Context
from authgate.check.contracts import ENDPOINTS, REDIRECT, Contract, site_named
from authgate.check.credentials import Credential, credential_in, gate_credential, plain_token_key
from authgate.check.memory import UNKNOWN, Memory, Principal, Program, Unknown
from authgate.check.missing import (
    Missing,
    MissingApplication,
    MissingCode,
    MissingEndpoint,
    MissingIssuers,
    MissingPage,
    MissingProgram,
    MissingSession,
)
from authgate.check.request import Facts
from authgate.check.responses import Answer, misconfigured
from authgate.check.state import is_forged
from authgate.check.tally import ASKED, NOBODY, REFUSED
from authgate.decision.evaluation import decide
from authgate.decision.rules import ALLOW, REFUSE, Decision
from authgate.decision.target import BadTarget, Target, code_in, is_on_same_host, is_within, without_code

WRONG = Decision(REFUSE, "wrong credential")
NO_PRINCIPAL = (Answer, Missing)
"""For `isinstance`, as a tuple: building `Answer | Missing` in each check takes longer than the test."""


def check(facts: Facts, memory: Memory) -> Answer | Missing:
    """Return the answer to a check, or what memory lacks to answer it."""
    context = read(facts, memory)
    return answer(context, memory) if isinstance(context, Context) else context


def read(facts: Facts, memory: Memory) -> Context | Answer | Missing:
    """Return the context of a check: its contract, target and application."""
    settings = memory.settings
    contract = settings.checks[facts.path]
    if facts.peer is not None and not is_within(facts.peer, settings.trusted_proxies):
        return misconfigured(contract, memory, "peer is no trusted proxy", client=facts.peer)
    query = contract.query(facts.query)
    try:
        target = contract.read(facts, query, settings.forwarded_hops)
    except BadTarget as problem:
        return _unreadable(contract, facts, memory, str(problem))
    origin = target.origin
    if query.fault:
        return misconfigured(contract, memory, query.fault, origin=origin)
    if is_on_same_host(origin, settings.portal_origin):
        return _for_portal(contract, target, facts, query.allow_portal, memory)
    application = memory.application(origin)
    if application is UNKNOWN:
        return MissingApplication(origin)
    if application is None:
        return misconfigured(contract, memory, "unknown origin", origin=origin, client=target.client)
    return Context(contract, target, query, application, facts.headers, facts.now)


def answer_later(context: Context, now: float, memory: Memory) -> Answer | Missing | None:
    """Return the answer at `now` (Unix time) to a check that was read earlier. None if it must be read again.

    Only values from the request itself are reused. The application is looked up again.
    """
    application = memory.application(context.target.origin)
    if application is None or application is UNKNOWN:
        return None
    return answer(context._replace(application=application, now=now), memory)


def answer(context: Context, memory: Memory) -> Answer | Missing:
    """Return the answer to a check that was read: find the user or program, decide, and build the answer."""
    contract, target, query, application, headers, now, _, head = context
    if not (contract.believes_port or query.port) and memory.is_at_several_ports(target.origin):
        # Clients write the port in Host. Otherwise a client could choose the application by it.
        return misconfigured(contract, memory, "host of several applications", origin=target.origin)
    if contract.style is REDIRECT and target.uri is not None:
        if is_endpoint(contract, target.uri):
            return MissingEndpoint(target.uri.partition("?")[0].rpartition("/")[2], context)
        if "ikdcode=" in target.uri and code_in(target.uri) is not None:
            return _with_code(context, memory)
    principal = _principal(context, memory)
    if isinstance(principal, NO_PRINCIPAL):
        return principal
    subject = principal.subject if principal is not None else None
    is_program = principal is not None and principal.is_program
    decision = decide(application, target, subject, now, query.filters)
    if decision.verdict is ALLOW:
        admitted = admit(context, principal, decision, memory)
        if admitted is not None:
            value = headers.values.get(b"authorization") if head is None else head.authorization
            if value is None or is_program or application.id_token or not isinstance(admitted, Answer):
                # An application that gets ID tokens must never read a client's value in their place.
                return admitted
            return with_authorization(admitted, contract, value, memory)
        reason = responses.TOKENS_TOO_LONG if application.gets_tokens else responses.IDENTITY_TOO_LONG
        decision = Decision(REFUSE, reason)
    context = context.with_hints()
    if is_program or (decision.verdict is REFUSE and not responses.is_shown_at_the_portal(decision, context)):
        # A program cannot present a second factor, so it is refused.
        refused = responses.refuse(context, memory, subject, decision, to_a_program=is_program)
        refused.tally = memory.tally(context, subject, decision, REFUSED)
        return refused
    asked = responses.ask_to_sign_in(context, memory)
    if asked is None:
        return MissingPage(context)
    asked.tally = memory.tally(context, subject, decision, ASKED)
    return asked


def _unreadable(contract: Contract, facts: Facts, memory: Memory, reason: str) -> Answer | Missing:
    """Refuse an invalid check. Report its origin only if an application has it: clients write any host."""
    site = site_named(contract, facts.headers)
    application = memory.application(site) if site else None
    if application is UNKNOWN:
        return MissingApplication(site)
    # nginx turns every status except 401 and 403 into 500.
    status = 400 if contract.style is REDIRECT else 403
    origin = site if application is not None else ""
    return misconfigured(contract, memory, reason, status=status, origin=origin)


def _for_portal(contract: Contract, target: Target, facts: Facts, is_allowed: bool, memory: Memory) -> Answer:
    """Admit a request for the portal's own origin, if the check's URL allows that.

    The portal's pages protect themselves. But clients write the host name: without `allow_portal`, an
    application behind nginx's first server, a catch-all router or a wildcard would be open to everyone.
    """
    if target.origin != memory.settings.portal_origin:
        return responses.on_the_portals_host(contract, memory, target)
    if not is_allowed:
        reason = "the portal's own origin"
        return misconfigured(contract, memory, reason, origin=target.origin, client=target.client)
    allowed = Answer(200, identity_headers(None, None))
    value = facts.headers.values.get(b"authorization")
    return allowed if value is None else with_authorization(allowed, contract, value, memory)


def is_endpoint(contract: Contract, uri: str) -> bool:
    """Return whether the target of a check is one of our own endpoints."""
    if not uri.startswith(contract.prefix):
        return False
    return uri.partition("?")[0].removeprefix(f"{contract.prefix}/") in (*ENDPOINTS, "sign_in")


def _with_code(context: Context, memory: Memory) -> Answer | Missing:
    """Answer a check whose URL contains a one-time code. The application never receives the code."""
    context = context.with_hints()
    target, browser = context.target, context.browser
    uri = target.uri or "/"
    code, rest = code_in(uri) or "", without_code(uri)
    if not browser.navigates or target.method not in ("GET", "HEAD"):
        return responses.unauthorized(context, to_a_program=True)
    if target.method == "HEAD" or browser.prefetches:
        return responses.redirect(target.origin + rest)
    if not is_forged(code, memory.settings.state_keys):
        return MissingCode(code, context)
    found = answer(context._replace(target=target._replace(uri=rest)), memory)
    is_let_in = isinstance(found, Answer) and found.status == 200
    return responses.redirect(target.origin + rest) if is_let_in else found


def _principal(context: Context, memory: Memory) -> Principal | Answer | Missing | None:
    """Return the session or program of a request. None for visitors who are not signed in.

    If a program's credential is present, cookies are ignored. If it is wrong, the check is refused.
    """
    credential = _credential(context, memory) if context.head is None else context.head.ours
    if credential is None or isinstance(credential, Missing):
        return credential
    key, now = credential.key, context.now
    found = memory.session(key, now) if key else None
    if found is UNKNOWN and credential.place:
        return MissingSession(key)
    if found is UNKNOWN and not memory.is_throttled(context.target.client, key, now):
        return MissingProgram(key, context)
    if found and found is not UNKNOWN and found.accepts(credential, context.application.id, now):
        return found
    if credential.place:
        return None
    wrong = responses.wrong_credential(context.with_hints(), memory)
    if memory.tallies is not None:  # not sampled, because no rule can admit it
        application, method = context.application, context.target.method
        wrong.tally = memory.tallies.once(application.id, NOBODY, WRONG, method, REFUSED)
    return wrong


def _credential(context: Context, memory: Memory) -> Credential | Missing | None:
    """Return the portal's credential in a request: that of a program, or a gate cookie."""
    headers = context.headers
    if b"authorization" in headers.values:
        key = plain_token_key(headers)
        if key is not None and isinstance(memory.session(key, context.now), Program):
            return Credential(key)
        if isinstance(memory.issuers, Unknown):
            return MissingIssuers()
        credential = credential_in(headers, memory.issuers)
        if credential is not None:
            return credential
    return gate_credential(headers, context.target.origin, memory.settings.shared_domains)
