"""Answers other than admission, for each style of contract."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field

from authgate.check.context import Context
from authgate.check.contracts import REDIRECT, STATUS, Contract
from authgate.check.memory import GateSettings, Memory, RefusedPage
from authgate.check.state import State, nonce_hash, seal
from authgate.check.tally import NOT_COUNTED, Tally
from authgate.cookies import cookie_name, cookies_of, set_cookie
from authgate.decision.rules import MAINTENANCE, NO_RULE, Decision, Maintenance, Subject
from authgate.decision.target import BadTarget, Target, without_code

Headers = tuple[tuple[bytes, bytes], ...]

LONGEST_HEADERS = 4096
"""Bytes of an answer's headers. The buffers of nginx and HAProxy are not much larger."""

LONGEST_LOCATION = 1536
"""Bytes of the portal's address with the state in it. The address travels on in the portal's own redirects,
beside all other headers of a page, and by the provider. A longer page is kept in the database."""

IDENTITY_TOO_LONG = "identity headers too long"
TOKENS_TOO_LONG = "tokens too long for the headers"
TOO_LONG = (IDENTITY_TOO_LONG, TOKENS_TOO_LONG)

NONCE_AGE = 600
"""Seconds between the redirect to the portal and the return."""
_RESERVED, _FEW_RESERVED = re.compile(r"[^A-Za-z0-9_.~-]"), re.compile(r"[A-Za-z0-9_.~:/?=-]*")
_NONCE = re.compile(r"[A-Za-z0-9_-]{22}")

NO_STORE: Headers = ((b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"))
JSON: Headers = ((b"content-type", b"application/json"), *NO_STORE)
BASIC, BEARER = b'Basic realm="ikD Portal", charset="UTF-8"', b'Bearer realm="ikD Portal"'
CHALLENGES = {"bearer": BEARER, "basic": BASIC, "both": b"%s, %s" % (BASIC, BEARER)}
"""By the setting of an application. Some clients read only the first challenge, so Basic is first."""

INVALID_TOKEN = b', error="invalid_token"'
CHALLENGE: Headers = ((b"www-authenticate", BEARER),)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused check, for administrators. `is_configuration` marks a mistake in a proxy's configuration."""

    decision_id: str
    contract: str
    reason: str
    origin: str = ""
    method: str = ""
    path: str = ""
    client: str = ""
    username: str = ""
    application: str = ""
    failed: tuple[tuple[int, str], ...] = ()
    is_configuration: bool = False


@dataclass(slots=True)
class Answer:
    """A complete answer. Header names are in lower case; the server adds Content-Length and Date.

    Only `wire` and `tally` change after it is built. It is not frozen, because that would be slower to build.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    refusal: Refusal | None = None
    sign_in_id: int | None = None
    token_id: int | None = None
    echo: bytes | None = None
    """The application's own Authorization. It is the last of `headers`, and not in `wire`."""

    wire: list[bytes] = field(default_factory=list, compare=False, repr=False)
    """The bytes of this answer, cached by the server's protocol."""

    tally: Tally = field(default=NOT_COUNTED, compare=False, repr=False)
    """Counts this answer each time it is sent."""


# ---- not signed in ----------------------------------------------------------------------------------------


def ask_to_sign_in(context: Context, memory: Memory) -> Answer | None:
    """Return a redirect to the portal, or 401 if the proxy or the client does not follow redirects.

    Return None for a page that must be stored first.
    """
    target, browser = context.target, context.browser
    if context.contract.style is STATUS or not browser.navigates:
        return unauthorized(context)
    uri = without_code(target.uri or "/")
    if browser.is_framed and browser.is_cross_site:
        return framed_page(context, memory.settings, target.origin + uri)
    return to_portal(context, memory, uri, status=status_of_redirect(target))


def status_of_redirect(target: Target) -> int:
    return 302 if target.method in ("GET", "HEAD") else 303


def to_portal(
    context: Context,
    memory: Memory,
    uri: str,
    *,
    back: str = "",
    status: int = 302,
    rounds: int = 0,
    kept: str | None = None,
) -> Answer | None:
    """Return a redirect to the portal with a sealed state. A nonce cookie binds the attempt to the browser.

    `kept` is the key of a stored page that is too long for the state. If `kept` is empty, such a page is
    lost. If `kept` is None, return None: the page must be stored first.
    """
    origin = context.target.origin
    nonce = cookies_of(context.headers.values.get(b"cookie", b"")).get(cookie_name(origin, "nonce"), "")
    if not _NONCE.fullmatch(nonce):
        nonce = base64.urlsafe_b64encode(memory.random(16)).rstrip(b"=").decode()
    state = State(origin, uri, nonce_hash(nonce), back, int(context.now), rounds)
    location = _continue_url(state, memory)
    if len(location) > LONGEST_LOCATION:
        if kept is None:
            return None
        for shorter in (uri.partition("?")[0], "/"):
            location = _continue_url(state._replace(uri=shorter, kept=kept), memory)
            if len(location) <= LONGEST_LOCATION:
                break
    cookie = set_cookie(origin, "nonce", nonce, max_age=NONCE_AGE)
    return Answer(status, ((b"location", location), cookie, *NO_STORE))


def _continue_url(state: State, memory: Memory) -> bytes:
    sealed = seal(state, memory.settings.state_keys[0])
    return f"{memory.settings.portal_origin}/continue?state={sealed}".encode()


def framed_page(
    context: Context, settings: GateSettings, url: str, *, status: int = 401, refusal: Refusal | None = None
) -> Answer:
    """Return a page for a frame, with a link that opens `url` in a new tab."""
    if len(url) > LONGEST_HEADERS:
        url = f"{context.target.origin}/"
    headers = framed_headers(settings.portal_origin)
    if refusal is not None:
        headers += ((b"x-auth-decision", refusal.decision_id.encode()),)
    return Answer(status, headers, settings.render_framed(url, context.browser.languages), refusal)


def framed_headers(portal: str) -> Headers:
    """Return the headers of a page for a frame. Any site may frame it; it can only open its link."""
    policy = f"default-src 'none'; style-src {portal}; base-uri 'none'; form-action 'none'"
    return (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
        *NO_STORE,
    )


def start_url(context: Context) -> str:
    """Return the URL that starts a sign-in and then returns to the present page."""
    target, browser = context.target, context.browser
    page = f"{target.origin}/"
    if browser.navigates and target.uri:
        page = target.origin + without_code(target.uri)
    elif not browser.navigates and browser.referer.startswith(page):
        page = browser.referer
    quoted = _quoted(page)
    if len(quoted) > LONGEST_HEADERS // 2:
        quoted = _quoted(page.partition("?")[0])
    if len(quoted) > LONGEST_HEADERS // 2:
        quoted = _quoted(f"{target.origin}/")
    return f"{target.origin}{context.contract.prefix}/start?rd={quoted}"


def _quoted(page: str) -> str:
    """Return an ASCII URL quoted for a query. The common case takes a third of the time."""
    if _FEW_RESERVED.fullmatch(page):
        return page.replace(":", "%3A").replace("/", "%2F").replace("?", "%3F").replace("=", "%3D")
    return _RESERVED.sub(lambda match: f"%{ord(match[0]):02X}", page)


def challenge(context: Context, error: bytes = b"") -> Headers:
    """Return WWW-Authenticate with the challenges of an application (RFC 9110, section 11.6.1).

    A browser gets only Bearer. For Basic it would open a password dialog, even for a script or an image.
    """
    application = context.application
    chosen = "bearer" if application is None or context.browser.is_browser else application.challenges
    value = CHALLENGES.get(chosen, BEARER)
    return ((b"www-authenticate", value if chosen == "basic" else value + error),)


def unauthorized(context: Context, *, to_a_program: bool = False) -> Answer:
    """Return 401 with the URL for signing in. For programs and scripts, the body is JSON."""
    location = start_url(context)
    headers: Headers = ((b"x-auth-location", location.encode("ascii")),)
    if context.browser.navigates and not to_a_program:
        return Answer(401, headers + NO_STORE)
    body = json.dumps({"error": "sign_in_required", "location": location}).encode()
    return Answer(401, headers + challenge(context) + JSON, body)


def wrong_credential(context: Context, memory: Memory) -> Answer:
    """Return the refusal of a wrong credential. It neither explains the fault nor offers a sign-in."""
    refusal = _refusal(context, memory, "wrong credential")
    return wrong_credential_of(context, refusal.decision_id, refusal)


def wrong_credential_of(context: Context, decision_id: str, refusal: Refusal | None = None) -> Answer:
    fields = {"error": "invalid_token"} | ({"decision": decision_id} if decision_id else {})
    headers: Headers = ((b"x-auth-decision", decision_id.encode()),) if decision_id else ()
    headers += challenge(context, INVALID_TOKEN) + JSON
    return Answer(401, headers, json.dumps(fields).encode(), refusal)


# ---- refused ----------------------------------------------------------------------------------------------


def is_shown_at_the_portal(decision: Decision, context: Context) -> bool:
    """Return whether the portal shows the maintenance page, because this proxy loses the status 503."""
    return decision.reason == MAINTENANCE and not context.contract.shows_503 and context.browser.navigates


def refuse(
    context: Context, memory: Memory, subject: Subject | None, decision: Decision, *, to_a_program: bool
) -> Answer:
    """Return a refusal with a decision id: a page for users, JSON for programs, only the status for nginx."""
    target, reason = context.target, decision.reason
    if reason == MAINTENANCE and context.application.maintenance is not None:
        return closed(context, memory, subject, context.application.maintenance, to_a_program=to_a_program)
    username = subject.username if subject else ""
    is_configuration = reason in TOO_LONG or (target.uri is None and reason == NO_RULE)
    refusal = _refusal(context, memory, reason, username, decision.failed, is_configuration)
    if context.contract.style is STATUS:
        return _refused(403, refusal)
    browser = context.browser
    if to_a_program or not browser.navigates:
        return _refused(403, refusal, as_json=True)
    if browser.is_framed:
        url = target.origin + without_code(target.uri or "/")
        return framed_page(context, memory.settings, url, status=403, refusal=refusal)
    name = refusal.application if subject else ""
    text = context.application.refusal_text if subject else ""
    page = RefusedPage(refusal.decision_id, target, name, username, reason, browser.languages, text)
    return refused_page(page, memory.settings, refusal)


def closed(
    context: Context, memory: Memory, subject: Subject | None, closed_by: Maintenance, *, to_a_program: bool
) -> Answer:
    """Return 503 for an application under maintenance, as a page or as JSON for a program.

    nginx turns a 503 of a check into 500. It gets 403 and requests the endpoint `refused`, which returns 503.
    """
    retry: Headers = ((b"retry-after", b"%d" % closed_by.retry_after), (b"x-auth-maintenance", b"1"))
    browser, target = context.browser, context.target
    if context.contract.style is STATUS:
        return Answer(403, retry + NO_STORE)
    if to_a_program or not browser.navigates:
        told = {"error": MAINTENANCE, "message": closed_by.text, "retry_after": closed_by.retry_after}
        return Answer(503, retry + JSON, json.dumps(told).encode())
    if browser.is_framed:
        url = target.origin + without_code(target.uri or "/")
        shown = framed_page(context, memory.settings, url, status=503)
    else:
        name, username = (context.application.name, subject.username) if subject else ("", "")
        prefix = "" if subject else context.contract.prefix
        page = RefusedPage("", target, name, username, MAINTENANCE, browser.languages, closed_by.text, prefix)
        shown = refused_page(page, memory.settings, None)
    return Answer(503, shown.headers + retry, shown.body)


def _refusal(
    context: Context,
    memory: Memory,
    reason: str,
    username: str = "",
    failed: tuple[tuple[int, str], ...] = (),
    is_configuration: bool = False,
) -> Refusal:
    target = context.target
    return Refusal(
        new_id(memory),
        context.contract.name,
        reason,
        target.origin,
        target.method or "",
        target.path or "",
        target.client,
        username,
        context.application.name if context.application else "",
        failed,
        is_configuration,
    )


def refused_page(page: RefusedPage, settings: GateSettings, refusal: Refusal | None) -> Answer:
    """Return the refused page for an application's origin. It contains the portal's style and links only."""
    portal = settings.portal_origin.encode()
    policy = b"default-src 'none'; style-src %s; img-src %s; frame-ancestors 'none'" % (portal, portal)
    headers: Headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy),
        (b"x-content-type-options", b"nosniff"),
        *NO_STORE,
    )
    if page.decision_id:
        headers += ((b"x-auth-decision", page.decision_id.encode()),)
    return Answer(403, headers, settings.render_refused(page), refusal)


def misconfigured(
    contract: Contract, memory: Memory, reason: str, *, status: int = 403, origin: str = "", client: str = ""
) -> Answer:
    """Return the refusal of a check from a misconfigured proxy. Only administrators see the reason."""
    refusal = Refusal(
        new_id(memory), contract.name, reason, origin=origin, client=client, is_configuration=True
    )
    return _refused(status, refusal, as_json=contract.style is REDIRECT)


def on_the_portals_host(contract: Contract, memory: Memory, target: Target) -> Answer:
    """Return the refusal of another port or scheme of the portal's host, even if an application has it.

    Cookies are sent to all ports (RFC 6265, section 8.5), so it would receive the portal's session cookie.
    """
    reason = "the portal's host at another port or scheme"
    return misconfigured(contract, memory, reason, origin=target.origin, client=target.client)


def new_id(memory: Memory) -> str:
    return memory.random(6).hex()


def _refused(status: int, refusal: Refusal, *, as_json: bool = False) -> Answer:
    headers: Headers = ((b"x-auth-decision", refusal.decision_id.encode()),)
    if not as_json:
        return Answer(status, headers + NO_STORE, refusal=refusal)
    body = json.dumps({"error": "refused", "decision": refusal.decision_id}).encode()
    return Answer(status, headers + JSON, body, refusal)


def redirect(url: str, *more: tuple[bytes, bytes], status: int = 302) -> Answer:
    """Return a redirect to an absolute ASCII URL, which must be validated or sealed."""
    if any(ord(character) not in range(0x21, 0x7F) for character in url):
        raise BadTarget("location")
    return Answer(status, ((b"location", url.encode("ascii")), *more, *NO_STORE))
