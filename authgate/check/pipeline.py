"""The check: one pure function from a request's facts and what is in memory to the answer.

Each step answers, says what is missing, or passes on.
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
from authgate.check.state import is_made_up
from authgate.check.tally import ASKED, NOBODY, REFUSED
from authgate.decision.evaluation import decide
from authgate.decision.rules import ALLOW, REFUSE, Decision
from authgate.decision.target import BadTarget, Target, code_in, is_on_same_host, is_within, without_code

WRONG = Decision(REFUSE, "wrong credential")
NO_PRINCIPAL = (Answer, Missing)
"""As a tuple: to build `Answer | Missing` for each check would take longer than to look at the class."""


def check(facts: Facts, memory: Memory) -> Answer | Missing:
    """Answer a check, or say what is missing from memory to answer it."""
    context = read(facts, memory)
    return answer(context, memory) if isinstance(context, Context) else context


def read(facts: Facts, memory: Memory) -> Context | Answer | Missing:
    """Read a check: who asks, by which contract, for what, and of which application."""
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
        return _at_the_portal(contract, target, facts, query.allow_portal, memory)
    application = memory.application(origin)
    if application is UNKNOWN:
        return MissingApplication(origin)
    if application is None:
        return misconfigured(contract, memory, "unknown origin", origin=origin, client=target.client)
    return Context(contract, target, query, application, facts.headers, facts.now)


def answer_later(context: Context, now: float, memory: Memory) -> Answer | Missing | None:
    """Answer a check that was read before, at `now` (Unix time). Return None if it must be read again.

    Only what the request itself says is taken from then: its application is looked up again too.
    """
    application = memory.application(context.target.origin)
    if application is None or application is UNKNOWN:
        return None
    return answer(context._replace(application=application, now=now), memory)


def answer(context: Context, memory: Memory) -> Answer | Missing:
    """Answer a check that was read: find who asks, decide by the rules, and put that on the wire."""
    contract, target, query, application, headers, now, _, head = context
    if not (contract.believes_port or query.port) and memory.is_at_several_ports(target.origin):
        # The client could choose an application by a port that it merely wrote into its Host.
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
                # What a client sent must not stand where an application takes the upstream's word.
                return admitted
            return with_authorization(admitted, contract, value, memory)
        reason = responses.TOKENS_TOO_LONG if application.gets_tokens else responses.IDENTITY_TOO_LONG
        decision = Decision(REFUSE, reason)
    context = context.with_hints()
    if is_program or (decision.verdict is REFUSE and not responses.is_shown_at_the_portal(decision, context)):
        # A program is refused what needs a second factor: no user sits there who could present one.
        refused = responses.refuse(context, memory, subject, decision, to_a_program=is_program)
        refused.tally = memory.tally(context, subject, decision, REFUSED)
        return refused
    asked = responses.ask_to_sign_in(context, memory)
    if asked is None:
        return MissingPage(context)
    asked.tally = memory.tally(context, subject, decision, ASKED)
    return asked


def _unreadable(contract: Contract, facts: Facts, memory: Memory, reason: str) -> Answer | Missing:
    """Refuse a check that cannot be read. Only an application's site is named: clients write any host."""
    site = site_named(contract, facts.headers)
    application = memory.application(site) if site else None
    if application is UNKNOWN:
        return MissingApplication(site)
    # nginx makes 500 of every status but 401 and 403.
    status = 400 if contract.style is REDIRECT else 403
    origin = site if application is not None else ""
    return misconfigured(contract, memory, reason, status=status, origin=origin)


def _at_the_portal(
    contract: Contract, target: Target, facts: Facts, is_allowed: bool, memory: Memory
) -> Answer:
    """Let the portal's own pages through, which guard themselves, if the check's URL allows that.

    The client writes the name. A proxy that does not serve the portal takes it for one of an application, as
    nginx's first server, a catch-all router and a wildcard take any: there it would open everything.
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
    """Return whether a redirect-style check is about one of our own endpoints."""
    if not uri.startswith(contract.prefix):
        return False
    return uri.partition("?")[0].removeprefix(f"{contract.prefix}/") in (*ENDPOINTS, "sign_in")


def _with_code(context: Context, memory: Memory) -> Answer | Missing:
    """Never let a code through to the application, and let nobody else use it up."""
    context = context.with_hints()
    target, browser = context.target, context.browser
    uri = target.uri or "/"
    code, rest = code_in(uri) or "", without_code(uri)
    if not browser.navigates or target.method not in ("GET", "HEAD"):
        return responses.unauthorized(context, to_a_program=True)
    if target.method == "HEAD" or browser.prefetches:
        return responses.redirect(target.origin + rest)
    if not is_made_up(code, memory.settings.state_keys):
        return MissingCode(code, context)
    found = answer(context._replace(target=target._replace(uri=rest)), memory)
    is_let_in = isinstance(found, Answer) and found.status == 200
    return responses.redirect(target.origin + rest) if is_let_in else found


def _principal(context: Context, memory: Memory) -> Principal | Answer | Missing | None:
    """Return who asks, None for nobody.

    A program's credential counts alone, whatever cookie came with it: if it is wrong, so is the check.
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
    if found and found is not UNKNOWN and found.counts(credential, context.application.id, now):
        return found
    if credential.place:
        return None
    wrong = responses.wrong_credential(context.with_hints(), memory)
    if memory.tallies is not None:  # no sample: no rule could have let it in
        application, method = context.application, context.target.method
        wrong.tally = memory.tallies.once(application.id, NOBODY, WRONG, method, REFUSED)
    return wrong


def _credential(context: Context, memory: Memory) -> Credential | Missing | None:
    """Return the credential of ours in a request: a program's, or a gate cookie."""
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
