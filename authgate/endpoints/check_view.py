"""The Django view that answers checks and the endpoints of protected origins.

It loads from the database what the worker's memory lacks.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from urllib.parse import unquote_plus, urlencode

from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import translation

from authgate import audit, handover, identity_jwt, kept_pages, sign_ins
from authgate.check import contracts, responses
from authgate.check.admission import header_value
from authgate.check.context import Context
from authgate.check.contracts import OAUTH2_ENDPOINT, Contract
from authgate.check.credentials import Credential, credential_in
from authgate.check.memory import UNKNOWN, Memory, Program, RefusedPage, Session, Unknown
from authgate.check.missing import (
    Missing,
    MissingApplication,
    MissingCode,
    MissingEndpoint,
    MissingIssuers,
    MissingPage,
    MissingProgram,
    MissingSession,
    MissingSigner,
    MissingTokens,
)
from authgate.check.pipeline import check
from authgate.check.query import NO_QUERY
from authgate.check.request import Facts, RequestHeaders, headers_from
from authgate.check.responses import Answer
from authgate.cookies import cookie_name, cookies_of, place_of, set_cookie
from authgate.decision.evaluation import decide
from authgate.decision.rules import MAINTENANCE, Application, Verdict
from authgate.decision.target import BadTarget, Target, in_ascii, method_from, uri_from, without_code
from authgate.doctor.arrivals import CHECK, refuse_probe
from authgate.endpoints.header_aliases import ALIASES, note_aliases
from authgate.models import SignIn
from authgate.pages import onward
from authgate.pages.outage import outage_in, render_outage
from authgate.pages.refused import preferred_language
from authgate.peer import is_trusted_peer, peer_address, raw_headers, sent_target
from authgate.people import people
from authgate.redirect_targets import LONGEST, LONGEST_PAGE, validate_target
from authgate.worker import feed, loader, stale_connections
from authgate.worker.check_counts import VIEW, count
from authgate.worker.failures import broken
from authgate.worker.memory import OverMemory
from authgate.worker.write_behind import writer

log = logging.getLogger("ikd.gate")

Work = Callable[[Facts, Memory], Answer]


def answer_gate_request(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a check or to an endpoint of a protected origin; None for every other path."""
    oauth2 = settings.IKD_OAUTH2_CONTRACT
    path = request.path_info
    check_url = contracts.check_url(path, oauth2)
    if check_url is not None:
        return _guarded(request, check_url, answer_check)
    if path in contracts.endpoints(oauth2):
        name, contract = contracts.endpoints(oauth2)[path]
        return _guarded(request, path, lambda facts, memory: _answer_endpoint(name, contract, facts, memory))
    return None


def _guarded(request: HttpRequest, path: str, work: Work) -> HttpResponse:
    """Read the facts of a request, let `work` answer them, and return the answer as a response."""
    facts = Facts(
        path,
        request.META.get("QUERY_STRING", ""),
        headers_from(raw_headers(request)),
        peer_address(request),
        time.time(),
        request.method or "",
        sent_target(request),
    )
    found = _answered(facts, work)
    if work is answer_check:
        count(contracts.checks(settings.IKD_OAUTH2_CONTRACT)[path], facts, found, VIEW, facts.now)
    writer.note_answer(found, facts.now)
    return as_response(found, request.method == "HEAD")


def answer_alone(facts: Facts) -> Answer:
    """Return the answer to a check for which Django has no request. Call it in a separate thread."""
    try:
        return _answered(facts, answer_check)
    finally:
        close_old_connections()


def _answered(facts: Facts, work: Work) -> Answer:
    """Return the answer of `work`. If it raises an error, return 503: an error never grants access."""
    try:
        return work(facts, _memory())
    except Exception as error:
        decision_id = os.urandom(6).hex()
        log.exception("a check could not be answered", extra={"decision": decision_id})
        return broken(decision_id, _page_for(error, facts, decision_id))


def _page_for(error: Exception, facts: Facts, decision_id: str) -> bytes:
    """Return the page that a browser shows while the database or Redis is down; empty for other clients."""
    mode = facts.headers.values.get(b"sec-fetch-mode", b"navigate")
    if mode != b"navigate" or b"text/html" not in facts.headers.values.get(b"accept", b""):
        return b""
    outage = outage_in(error)
    if outage is None:
        return b""
    accepted = facts.headers.values.get(b"accept-language", b"").decode("latin-1")
    with translation.override(preferred_language(accepted)):
        return render_outage(outage, decision_id, settings.IKD_PORTAL_ORIGIN).encode()


def _memory() -> Memory:
    """Return the worker's memory if it is fresh, otherwise an empty memory for this request alone.

    Raises DatabaseError if the database could not be read for longer than IKD_STALE_GRACE.
    """
    stale_connections.close_stale()
    if feed.current is None:
        return loader.memory_for_one_request()
    source = feed.current.ensure_fresh()
    if source is feed.Source.NOBODY:
        raise DatabaseError(feed.current.trouble())
    if source is feed.Source.DATABASE:
        return loader.memory_for_one_request()
    return OverMemory(feed.current.memory)


def _load_session(digest: bytes, memory: Memory) -> Session | None:
    """Load a session for this request. The worker keeps it unless a change was read meanwhile."""
    if not isinstance(memory, OverMemory):
        return loader.load_session(digest)
    generation = memory.under.generation
    stale_connections.close_stale()  # after the generation, so that no row from an old connection is kept
    session = loader.load_session(digest)
    memory.under.hold(digest, session, generation)
    return session


def _load_program(missing: MissingProgram, facts: Facts, memory: Memory) -> Program | None:
    """Load the program that a credential belongs to. The worker keeps it as it keeps a session."""
    generation = memory.under.generation if isinstance(memory, OverMemory) else 0
    stale_connections.close_stale()
    program, lasts = people().load_credential(missing.key, facts.headers, memory)
    if isinstance(memory, OverMemory) and lasts:
        memory.under.hold(missing.key, program, generation)
    if program is None:
        memory.note_wrong(missing.context.target.client, facts.now)
    return program


class CheckResponse(HttpResponse):
    """A response that Django does not log. Otherwise it would log each check with status 4xx or 5xx."""

    _has_been_logged = True


def as_response(found: Answer, is_head: bool = False) -> HttpResponse:
    """Return an answer as a Django response with exactly these headers."""
    # Django's headers hold each name once, so an answer may set one cookie at most.
    response = CheckResponse(b"" if is_head else found.body, status=found.status)
    del response["Content-Type"]
    for name, value in found.headers:
        response[name.decode("ascii").title()] = value.decode("latin-1")
    response["Content-Length"] = str(len(found.body))
    return response


def answer_check(facts: Facts, memory: Memory) -> Answer:
    """Return the answer to a check. Load what memory lacks, each thing once, with three queries at most."""
    if (refusal := refuse_probe(CHECK, facts, memory.settings.state_keys)) is not None:
        return refusal
    if not facts.headers.values.keys().isdisjoint(ALIASES):
        note_aliases(facts.path, facts.peer)
    while True:
        found = check(facts, memory)
        if isinstance(found, Answer):
            return found
        if feed.current is not None and feed.current.is_without_database():
            raise DatabaseError(feed.current.trouble())  # otherwise every thread would wait for the database
        answered = _load_missing(found, facts, memory)
        if answered is not None:
            return answered


def _load_missing(found: Missing, facts: Facts, memory: Memory) -> Answer | None:
    """Load what memory lacks and return None. For a code, a long page or an endpoint, return the answer."""
    match found:
        case MissingApplication(origin=origin):
            loader.load_application_into(memory, origin)
        case MissingSession(digest=digest):
            memory.sessions[digest] = _load_session(digest, memory)
        case MissingProgram(key=key):
            memory.sessions[key] = _load_program(found, facts, memory)
        case MissingIssuers():
            memory.issuers = people().load_issuers()
        case MissingSigner():
            memory.signer = identity_jwt.signer_with_a_key()
        case MissingTokens(session=session):
            session.tokens = people().provider_tokens(session.sign_in_id)
        case MissingCode(code=code, context=context):
            return _take_code(context, code, memory)
        case MissingPage(context=context):
            uri, status = (
                without_code(context.target.uri or "/"),
                responses.status_of_redirect(context.target),
            )
            return _to_portal(context, memory, uri, status=status)
        case MissingEndpoint(name=name, context=context):
            return _answer_endpoint_in_check(name, context, facts, memory)
        case _:
            raise TypeError(found)
    return None


def _answer_endpoint_in_check(name: str, context: Context, facts: Facts, memory: Memory) -> Answer:
    """Return the answer of an endpoint that a redirect-style check has as its target.

    Raises RuntimeError for a 2xx answer: the proxy would let the request through to the application.
    """
    if name == "userinfo":
        # After a 2xx the proxy lets the request through to the application, which has no such page.
        body = b'{"error": "route this path to the portal"}'
        return Answer(404, responses.JSON, body)
    query = (context.target.uri or "").partition("?")[2]
    answered = ENDPOINTS[name](Visit(context, query, facts, in_check=True), memory)
    if answered.status < 300:
        raise RuntimeError(f"the endpoint {name} would let a request through to the application")
    return answered


def _to_portal(
    context: Context, memory: Memory, uri: str, *, back: str = "", status: int = 302, rounds: int = 0
) -> Answer:
    """Return a redirect to the portal. If the page is too long for the URL, the database keeps it.

    Raises ValueError if even that URL is too long.
    """
    begin = partial(responses.to_portal, context, memory, uri, back=back, status=status, rounds=rounds)
    begun = begin()
    if begun is None:
        kept = kept_pages.keep(context.target.origin + uri, context.target.client) or ""
        begun = begin(kept=kept)
    if begun is None:
        raise ValueError(uri[:100])
    return begun


# ---- endpoints --------------------------------------------------------------------------------------------


class Visit:
    """A browser's request for an endpoint of a protected origin.

    `in_check` means that the request came as a check: 200 would let it through to the application.
    """

    def __init__(self, context: Context, query: str, facts: Facts, *, in_check: bool = False) -> None:
        self.context, self.browser = context, context.browser
        self.in_check = in_check
        self.origin = context.target.origin
        self.prefix = context.contract.prefix
        self._query = query
        self._headers = facts.headers
        self._own_method = facts.method

    @property
    def method(self) -> str:
        """The browser's method. A proxy that always requests endpoints by GET sends it in a header."""
        if self.context.target.method is not None:
            return self.context.target.method
        forwarded = self.header(b"x-forwarded-method")
        return forwarded if forwarded and self._own_method == "GET" else self._own_method

    @property
    def decision_id(self) -> str:
        """The decision id of the check's answer that led here, as the proxy sends it; empty if malformed."""
        given = self.header(b"x-auth-decision") or ""
        is_id = len(given) == 12 and all(character in "0123456789abcdef" for character in given)
        return given if is_id else ""

    def has_credential(self, memory: Memory) -> bool:
        """Return whether Authorization contains a credential of the portal, valid or not."""
        if b"authorization" not in self._headers.values:
            return False
        issuers = people().load_issuers() if isinstance(memory.issuers, Unknown) else memory.issuers
        return credential_in(self._headers, issuers) is not None

    def parameter(self, name: str) -> str | None:
        """Return the value of a query parameter; None if it is missing or appears more than once."""
        values = [value for key, _, value in map(_parted, self._query.split("&")) if key == name]
        return unquote_plus(values[0], errors="surrogateescape") if len(values) == 1 else None

    def header(self, name: bytes) -> str | None:
        value = self._headers.values.get(name)
        return None if value is None or name in self._headers.doubled else value.decode("latin-1")


def _answer_endpoint(name: str, contract: Contract, facts: Facts, memory: Memory) -> Answer:
    """Return the answer of an endpoint that the proxy routed here. It trusts the same peers as checks do."""
    if (refusal := refuse_probe(name, facts, memory.settings.state_keys)) is not None:
        return refusal
    if not is_trusted_peer(facts.peer):
        return responses.misconfigured(contract, memory, "peer is no trusted proxy", client=facts.peer or "")
    try:
        facts = _with_scheme(contract, facts, memory)
        target = contract.read(facts, NO_QUERY, settings.IKD_FORWARDED_HOPS)
    except BadTarget as problem:
        site = contracts.site_named(contract, facts.headers)
        origin = site if _application(site, memory) else ""
        return responses.misconfigured(contract, memory, str(problem), status=400, origin=origin)
    if loader.is_beside_the_portal(target.origin):
        return responses.on_the_portals_host(contract, memory, target)
    application = _application(target.origin, memory)
    if application is None:
        return responses.misconfigured(
            contract, memory, "unknown origin", origin=target.origin, client=target.client
        )
    context = Context(contract, target, NO_QUERY, application, facts.headers, facts.now).with_hints()
    return ENDPOINTS[name](Visit(context, facts.query, facts), memory)


def _with_scheme(contract: Contract, facts: Facts, memory: Memory) -> Facts:
    """Return the facts. If the proxy left X-Scheme out, add the scheme of the application on this host.

    Published nginx locations for `/oauth2/sign_out` leave it out. https is tried first, because its cookies
    never travel over http. Only endpoints get this help; a check without X-Scheme is refused.
    Raises BadTarget.
    """
    values, doubled = facts.headers
    if contract is not OAUTH2_ENDPOINT["nginx"] or b"x-scheme" in values:
        return facts
    over_https, over_http = (
        facts._replace(headers=RequestHeaders({**values, b"x-scheme": scheme}, doubled))
        for scheme in (b"https", b"http")
    )
    hops = settings.IKD_FORWARDED_HOPS
    is_only_http = (
        _application(contract.read(over_https, NO_QUERY, hops).origin, memory) is None
        and _application(contract.read(over_http, NO_QUERY, hops).origin, memory) is not None
    )
    return over_http if is_only_http else over_https


def _application(origin: str, memory: Memory) -> Application | None:
    found = memory.application(origin)
    if found is UNKNOWN:
        loader.load_application_into(memory, origin)
        found = memory.application(origin)
    return found if isinstance(found, Application) else None


def start(visit: Visit, memory: Memory) -> Answer:
    """Begin a sign-in: redirect to the portal, which returns the browser to its page through the callback."""
    if visit.has_credential(memory):
        # nginx comes here for every 401. A program with a wrong credential must get the 401, not a sign-in.
        return responses.wrong_credential_of(visit.context, visit.decision_id)
    if not visit.browser.navigates:
        return responses.unauthorized(visit.context)
    page = _page_asked_for(visit)
    origin, uri = _parts(page)
    if origin != visit.origin:
        return responses.redirect(page)
    if visit.browser.is_framed and visit.browser.is_cross_site:
        return responses.framed_page(visit.context, memory.settings, origin + without_code(uri))
    status = 302 if visit.header(b"x-forwarded-method") in (None, "GET", "HEAD") else 303
    return _to_portal(visit.context, memory, without_code(uri), back=visit.prefix, status=status)


def sign_in(visit: Visit, memory: Memory) -> Answer:
    """Begin a sign-in as `start` does. The body also redirects, for proxies that keep the status 401.

    Traefik's `errors` middleware passes on headers and body, but neither our status nor the path. So the body
    refreshes to `start`, which finds the requested page in the Referer.
    """
    begun = start(visit, memory)
    if visit.context.contract is OAUTH2_ENDPOINT["nginx"]:
        # nginx comes here by `error_page`, and adds the check's challenge itself.
        begun = replace(
            begun, headers=tuple(pair for pair in begun.headers if pair[0] != b"www-authenticate")
        )
    if not visit.browser.navigates or begun.body:
        return begun
    body = b'<!doctype html><meta http-equiv="refresh" content="0;url=/oauth2/start"><title>Sign in</title>'
    headers = tuple((name, value) for name, value in begun.headers if name != b"referrer-policy")
    page = ((b"content-type", b"text/html; charset=utf-8"), (b"referrer-policy", b"same-origin"))
    return Answer(begun.status, headers + page, body)


def callback(visit: Visit, memory: Memory) -> Answer:
    """Redeem a code, set a gate cookie, and redirect to the requested page.

    Only a GET that opens a page redeems a code; a prefetch must not use it up.
    """
    if visit.method != "GET" or visit.browser.prefetches:
        return responses.redirect(visit.origin + _own_uri(visit.context, visit), status=303)
    return _take_code(visit.context, visit.parameter("ikdcode") or "", memory, visit)


def sign_out(visit: Visit, memory: Memory) -> Answer:
    """End the sign-in everywhere, at its provider last.

    If another site links here, the portal asks the user first.
    """
    rd = validate_target(visit.parameter("rd"), base=visit.origin, allowed=loader.is_allowed_origin)
    site = visit.header(b"sec-fetch-site")
    if site is None:
        site = "same-origin" if visit.browser.referer.startswith(f"{visit.origin}/") else "cross-site"
    session = _session_of(visit.context, memory)
    is_meant = visit.method in ("GET", "POST") and not visit.browser.prefetches
    if site not in ("same-origin", "none") or session is None or not is_meant:
        query = f"?{urlencode({'rd': rd})}" if rd else ""
        return responses.redirect(f"{settings.IKD_PORTAL_ORIGIN}{reverse('account_logout')}{query}")
    sign_ins.end_sign_ins(SignIn.objects.filter(pk__in=[session.sign_in_id]))
    audit.record(
        "sign_out", actor=session.subject.username, address=visit.context.target.client, reason=visit.origin
    )
    cleared = set_cookie(_place(visit.context, memory), "gate", "", max_age=0)
    on = people().provider_sign_out(session.sign_in_id, rd) or rd
    return responses.redirect(on or f"{settings.IKD_PORTAL_ORIGIN}{reverse('signed_out')}", cleared)


def userinfo(visit: Visit, memory: Memory) -> Answer:
    """Return the signed-in user as JSON, as oauth2-proxy does.

    If the application has a username header, also send `username` as butterfly-auth does.
    """
    session = _session_of(visit.context, memory)
    if session is None:
        return responses.unauthorized(visit.context, to_a_program=True)
    subject = session.subject
    claims = {
        "user": subject.username,
        "email": subject.email,
        "groups": sorted(name for _, name in subject.groups),
        "preferredUsername": subject.username,
    }
    headers = responses.JSON
    if visit.context.application.username_header:
        headers += ((b"username", header_value(subject.username)),)
    return Answer(200, headers, json.dumps(claims).encode())


def refused(visit: Visit, memory: Memory) -> Answer:
    """Show why the page was refused. Proxies of the status style come here: they do not know the reason."""
    target = _page_refused(visit)
    session = _session_of(visit.context, memory)
    subject = session.subject if session else None
    application = visit.context.application
    decision = decide(application, target, subject, visit.context.now)
    if decision.reason == MAINTENANCE and application.maintenance is not None:
        there = visit.context._replace(target=target)
        return responses.closed(there, memory, subject, application.maintenance, to_a_program=False)
    reason = decision.reason if decision.verdict is Verdict.REFUSE else "no rule admits"
    decision_id = visit.decision_id
    if not visit.browser.navigates:
        body = json.dumps({"error": "refused", "decision": decision_id}).encode()
        return Answer(403, ((b"x-auth-decision", decision_id.encode()), *responses.JSON), body)
    if visit.browser.is_framed:
        return responses.framed_page(visit.context, memory.settings, target.url, status=403)
    page = RefusedPage(
        decision_id,
        target,
        application.name if subject else "",
        subject.username if subject else "",
        reason,
        visit.browser.languages,
        application.refusal_text if subject else "",
    )
    return responses.refused_page(page, memory.settings, None)


Endpoint = Callable[[Visit, Memory], Answer]
ENDPOINTS: dict[str, Endpoint] = {
    "start": start,
    "sign_in": sign_in,
    "callback": callback,
    "sign_out": sign_out,
    "userinfo": userinfo,
    "refused": refused,
}


def _page_asked_for(visit: Visit) -> str:
    """Return the validated URL of the page that the browser requested. It is never one of our endpoints."""
    candidates = (
        visit.parameter("rd"),
        in_ascii(visit.header(b"x-auth-request-redirect") or ""),
        in_ascii(visit.header(b"x-forwarded-uri") or ""),
        visit.browser.referer if visit.browser.referer.startswith(f"{visit.origin}/") else None,
    )
    for candidate in candidates:
        page = validate_target(
            candidate, base=visit.origin, allowed=loader.is_allowed_origin, longest=LONGEST_PAGE
        )
        if not page or page.startswith((f"{visit.origin}/authgate/", f"{visit.origin}/oauth2/")):
            continue
        if page.startswith(f"{visit.origin}/") or len(page) <= LONGEST:
            return page
    return f"{visit.origin}/"


def _page_refused(visit: Visit) -> Target:
    target = visit.context.target
    try:
        uri = uri_from((visit.header(b"x-forwarded-uri") or "/").encode("latin-1"))
        method = method_from(visit.header(b"x-forwarded-method") or "GET")
    except BadTarget:
        return Target(target.origin, "GET", "/", target.client)
    return Target(target.origin, method, without_code(uri), target.client)


def _parted(parameter: str) -> tuple[str, str, str]:
    return parameter.partition("=")


def _parts(url: str) -> tuple[str, str]:
    """Split a validated absolute URL into its origin and the rest."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}", slash + path


# ---- codes and sessions -----------------------------------------------------------------------------------


def _take_code(context: Context, code: str, memory: Memory, visit: Visit | None = None) -> Answer:
    """Redeem a code and open a gate session, or send the browser to the portal again."""
    origin = context.target.origin
    nonce = _cookie(context, cookie_name(origin, "nonce"))
    taken = handover.redeem(code, origin=origin, nonce=nonce)
    if not isinstance(taken, handover.Failure):
        sign_in_taken, uri = taken
        place = _place(context, memory)
        token = sign_ins.open_gate(sign_in_taken, place, instead_of=_gate_token(context, place))
        return _onward(origin + uri, visit, _gate_cookie(sign_in_taken, place, token))
    uri = taken.uri or _own_uri(context, visit)
    if _session_of(context, memory) is not None:
        return _onward(origin + uri, visit)
    back = visit.prefix if visit else ""
    return _to_portal(context, memory, uri, back=back, rounds=taken.rounds)


def _onward(url: str, visit: Visit | None, *more: tuple[bytes, bytes]) -> Answer:
    """Redirect the browser to its page: by a header, or by a page if the URL may exceed a proxy's buffer."""
    if visit is None or visit.in_check or len(url) <= onward.LONGEST_HEADER:
        return responses.redirect(url, *more)
    return onward.answer_at_another_origin(url, visit.browser.languages, *more)


def _own_uri(context: Context, visit: Visit | None) -> str:
    """Return the URI to continue at after an invalid code."""
    if visit is None:
        return without_code(context.target.uri or "/")
    page = validate_target(
        visit.parameter("rd"), base=visit.origin, allowed=lambda origin: origin == visit.origin
    )
    return without_code(_parts(page)[1]) if page else "/"


def _place(context: Context, memory: Memory) -> str:
    return place_of(context.target.origin, memory.settings.shared_domains)


def _cookie(context: Context, name: str) -> str:
    return cookies_of(context.headers.values.get(b"cookie", b"")).get(name, "")


def _gate_token(context: Context, place: str) -> str:
    return _cookie(context, cookie_name(place, "gate"))


def _gate_cookie(sign_in: SignIn, place: str, token: str) -> tuple[bytes, bytes]:
    remaining = int(sign_in.expires_at.timestamp() - time.time())
    return set_cookie(place, "gate", token, max_age=remaining if sign_in.keep else None)


def _session_of(context: Context, memory: Memory) -> Session | None:
    """Return this browser's live gate session for the origin, or for its shared cookie domain; or None."""
    place = _place(context, memory)
    token = _gate_token(context, place)
    session = loader.load_session(sign_ins.digest(token)) if token else None
    credential = Credential(b"", place)
    return session if session and session.accepts(credential, context.application.id, context.now) else None
