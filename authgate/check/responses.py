"""What a decision looks like on the wire, in each answer style."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from authgate.check.contracts import REDIRECT, STATUS, Contract
from authgate.check.cookies import attributes_of, set_cookie_line
from authgate.check.decision import NO_RULE, Application, Decision, Subject
from authgate.check.memory import GateSettings, Memory, RefusedPage, Session, Tokens
from authgate.check.state import State, nonce_hash, seal
from authgate.check.target import BadTarget, Target, without_code, without_port

Headers = tuple[tuple[bytes, bytes], ...]

LONGEST_HEADERS = 4096
"""Octets of an answer's headers; nginx's and HAProxy's buffers end not far above."""

LONGEST_LOCATION = 1536
"""Bytes of the portal's address with the state in it. The address travels on in the portal's own redirects,
beside all other headers of a page, and by the provider. A longer page is kept in the database."""

IDENTITY_LIFETIME = 120
"""Seconds that a signed identity is good for. One is used for half of them, and then signed anew."""

IDENTITY_TOO_LONG = "identity headers too long"
TOKENS_TOO_LONG = "tokens too long for the headers"
TOO_LONG = (IDENTITY_TOO_LONG, TOKENS_TOO_LONG)

NONCE_AGE = 600
"""Seconds between leaving for the portal and coming back."""
_NONCE = re.compile(r"[A-Za-z0-9_-]{22}")
_UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TO_ENCODE = re.compile(rb"[^\x20-\x7e]|%|\A +| +\Z")

NO_STORE: Headers = ((b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"))
JSON: Headers = ((b"content-type", b"application/json"), *NO_STORE)
BASIC, BEARER = b'Basic realm="ikD Portal", charset="UTF-8"', b'Bearer realm="ikD Portal"'
CHALLENGES = {"bearer": BEARER, "basic": BASIC, "both": b"%s, %s" % (BASIC, BEARER)}
"""By an application's choice. Some clients read the first challenge alone, so that is the one for them."""

INVALID_TOKEN = b', error="invalid_token"'
CHALLENGE: Headers = ((b"www-authenticate", BEARER),)

OURS: Headers = ((b"x-auth-credential", b"portal"),)
"""Tells nginx that Authorization was for the portal, and must not go on."""

TOKENS: Headers = ((b"x-auth-authorization", b"tokens"),)
"""Tells nginx to set Authorization to what the answer has there."""

LONGEST_ECHO = 16_384


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an administrator is told of an answer that refused; `is_configuration` is the proxy's fault."""

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


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. Header names are lower case; Content-Length and Date are the server's to add."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    refusal: Refusal | None = None
    sign_in_id: int | None = None
    token_id: int | None = None
    wire: list[bytes] = field(default_factory=list, compare=False, repr=False)
    """Where the front keeps the octets that it made of this answer once."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How the browser asked: whether it navigates, and the cookies it sent."""

    contract: Contract
    target: Target
    navigates: bool
    prefetches: bool
    cookies: dict[str, str]
    referer: str
    languages: str
    now: float
    is_browser: bool = True
    """Whether a browser asks, be it for a page or for a script. It gets no challenge for Basic."""

    is_framed: bool = False
    """Whether the page is to stand inside another one, where the portal's own pages are never shown."""

    is_cross_site: bool = False
    """Whether another site's page asks. In a frame of it browsers send and keep no cookie of ours."""


# ---- allowed ----------------------------------------------------------------------------------------------


def header_value(text: str, *, comma: bool = False) -> bytes:
    """Give text as a header value in printable ASCII; what is outside it, `%` and edge spaces become %XX."""
    octets = text.encode("utf-8", "surrogatepass")
    encoded = _TO_ENCODE.sub(lambda match: b"".join(b"%%%02X" % octet for octet in match[0]), octets)
    return encoded.replace(b",", b"%2C") if comma else encoded


def identity_headers(application: Application | None, subject: Subject | None) -> Headers:
    """Give the identity headers of an allowed request, every name always there, empty for nobody."""
    user = username = email = groups = name = b""
    if subject is not None:
        username, email = header_value(subject.username), header_value(subject.email)
        name = header_value(subject.display_name)
        user = username
        if application is not None and application.user_header == "uuid":
            user = subject.uuid.encode()
        groups = b",".join(header_value(group, comma=True) for group in _told_groups(application, subject))
    headers = [
        (b"x-auth-request-user", user),
        (b"x-auth-request-email", email),
        (b"x-auth-request-groups", groups),
        (b"x-auth-request-preferred-username", username),
    ]
    if application is not None and application.remote_headers:
        headers += [(b"remote-user", user), (b"remote-email", email)]
        headers += [(b"remote-groups", groups), (b"remote-name", name)]
    if application is not None and application.forwarded_user_header:
        headers.append((b"x-forwarded-user", user))
    if application is not None and application.username_header:
        headers.append((b"username", username))
    return tuple(headers)


def identity_claims(
    portal: str, origin: str, application: Application, session: Session, now: float
) -> dict[str, Any]:
    """Give what X-Ikd-Jwt says of who asks: good on one origin, for IDENTITY_LIFETIME."""
    subject = session.subject
    claims: dict[str, Any] = {
        "iss": portal,
        "aud": origin,
        "sub": subject.uuid,
        "iat": int(now),
        "exp": int(min(now + IDENTITY_LIFETIME, session.expires_at)),
        "preferred_username": subject.username,
        "name": subject.display_name,
        "groups": list(_told_groups(application, subject)),
    }
    return claims | ({"email": subject.email} if subject.email else {})


def token_headers(application: Application, tokens: Tokens | None) -> Headers:
    """Give an upstream's tokens to an application that asks for them.

    Where there is none, nothing that a client sent in its place goes on.
    """
    headers: Headers = ()
    if application.access_token:
        headers += ((b"x-auth-request-access-token", tokens.access if tokens else b""),)
    if application.id_token:
        headers += OURS
    if application.id_token and tokens and tokens.id:
        headers += ((b"authorization", b"Bearer " + tokens.id), *TOKENS)
    return headers


def _told_groups(application: Application | None, subject: Subject) -> Iterable[str]:
    names = sorted(name for _, name in subject.groups)
    if application is None or application.named_groups is None:
        return names
    return [name for name in names if name in application.named_groups]


def is_too_long(headers: Headers) -> bool:
    return sum(len(name) + len(value) + 4 for name, value in headers) > LONGEST_HEADERS


def allow(headers: Headers, sign_in_id: int | None = None, token_id: int | None = None) -> Answer:
    return Answer(200, headers, sign_in_id=sign_in_id, token_id=token_id)


def with_authorization(allowed: Answer, contract: Contract, value: bytes) -> Answer | None:
    """Return the answer with the application's own Authorization, or None if it cannot hold that.

    Traefik and similar proxies take the header from the answer, and would remove it otherwise. Not under the
    URLs of oauth2-proxy, whose configurations may trust what comes back as the proxy's word. nginx passes it
    on by itself, and has no room for a long one here.
    """
    if contract.prefix != "/authgate":
        return allowed
    if _UNFIT.search(value):
        return None
    headers = (*allowed.headers, (b"authorization", value))
    if contract.style is STATUS:
        return allowed if is_too_long(headers) else replace(allowed, headers=headers, wire=[])
    return None if len(value) > LONGEST_ECHO else replace(allowed, headers=headers, wire=[])


# ---- not signed in ----------------------------------------------------------------------------------------


def ask_to_sign_in(asking: Asking, memory: Memory, application: Application) -> Answer | None:
    """Return a redirect to the portal where the proxy can send one, and 401 for everybody else.

    None for a page that has to be kept first.
    """
    target = asking.target
    if asking.contract.style is STATUS or not asking.navigates:
        return unauthorized(asking, application)
    if asking.is_framed and asking.is_cross_site:
        return framed_page(asking, memory.settings, target.origin + without_code(target.uri or "/"))
    return to_portal(asking, memory, without_code(target.uri or "/"), status=status_of_redirect(target))


def status_of_redirect(target: Target) -> int:
    return 302 if target.method in ("GET", "HEAD") else 303


def to_portal(
    asking: Asking,
    memory: Memory,
    uri: str,
    *,
    back: str = "",
    status: int = 302,
    rounds: int = 0,
    kept: str | None = None,
) -> Answer | None:
    """Redirect to the portal with a sealed state, and bind the attempt to this browser by a nonce cookie.

    A page that the state has no room for is at `kept`, or lost if that is "". None asks to keep it first.
    """
    origin = asking.target.origin
    nonce = asking.cookies.get(cookie_name(origin, "nonce"), "")
    if not _NONCE.fullmatch(nonce):
        nonce = base64.urlsafe_b64encode(memory.random(16)).rstrip(b"=").decode()
    state = State(origin, uri, nonce_hash(nonce), back, int(asking.now), rounds)
    location = _continue_url(state, memory)
    if len(location) > LONGEST_LOCATION:
        if kept is None:
            return None
        for shorter in (uri.partition("?")[0], "/"):
            location = _continue_url(replace(state, uri=shorter, kept=kept), memory)
            if len(location) <= LONGEST_LOCATION:
                break
    cookie = set_cookie(origin, "nonce", nonce, max_age=NONCE_AGE)
    return Answer(status, ((b"location", location), cookie, *NO_STORE))


def _continue_url(state: State, memory: Memory) -> bytes:
    sealed = seal(state, memory.settings.state_keys[0])
    return f"{memory.settings.portal_origin}/continue?state={sealed}".encode()


FRAMES = frozenset((b"iframe", b"frame", b"embed", b"object"))
"""Values of Sec-Fetch-Dest for a page inside another one."""


def framed_page(
    asking: Asking, settings: GateSettings, url: str, *, status: int = 401, refusal: Refusal | None = None
) -> Answer:
    """Return a page for a frame, with a link that opens `url` in a tab."""
    if len(url) > LONGEST_HEADERS:
        url = f"{asking.target.origin}/"
    headers = framed_headers(settings.portal_origin)
    if refusal is not None:
        headers += ((b"x-auth-decision", refusal.decision_id.encode()),)
    return Answer(status, headers, settings.render_framed(url, asking.languages), refusal)


def framed_headers(portal: str) -> Headers:
    """Return the headers of that page: any site may frame it, and it can do nothing but open its link."""
    policy = f"default-src 'none'; style-src {portal}; base-uri 'none'; form-action 'none'"
    return (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
        *NO_STORE,
    )


def start_url(asking: Asking) -> str:
    """Give the address at which a browser begins to sign in here and comes back to the page it shows."""
    target = asking.target
    page = (
        target.origin + without_code(target.uri) if asking.navigates and target.uri else f"{target.origin}/"
    )
    if not asking.navigates and asking.referer.startswith(f"{target.origin}/"):
        page = asking.referer
    url = f"{target.origin}{asking.contract.prefix}/start?rd="
    quoted = quote(page, safe="")
    if len(quoted) > LONGEST_HEADERS // 2:
        quoted = quote(page.partition("?")[0], safe="")
    return url + (quoted if len(quoted) <= LONGEST_HEADERS // 2 else quote(f"{target.origin}/", safe=""))


def challenge(asking: Asking, application: Application | None, error: bytes = b"") -> Headers:
    """Return WWW-Authenticate with the challenges that an application chose (RFC 9110, section 11.6.1).

    A browser gets Bearer alone: for Basic it would open a window of its own, also for a script or an image.
    """
    chosen = "bearer" if application is None or asking.is_browser else application.challenges
    value = CHALLENGES.get(chosen, BEARER)
    return ((b"www-authenticate", value if chosen == "basic" else value + error),)


def unauthorized(asking: Asking, application: Application | None, *, to_a_program: bool = False) -> Answer:
    """Return 401, and where a user may sign in; a program gets it as JSON too."""
    location = start_url(asking)
    headers: Headers = ((b"x-auth-location", location.encode("ascii")),)
    if asking.navigates and not to_a_program:
        return Answer(401, headers + NO_STORE)
    body = json.dumps({"error": "sign_in_required", "location": location}).encode()
    return Answer(401, headers + challenge(asking, application) + JSON, body)


def wrong_credential(asking: Asking, memory: Memory, application: Application) -> Answer:
    """Say that a machine's credential is wrong: nothing of what is wrong with it, and no way to sign in."""
    target = asking.target
    refusal = Refusal(
        new_id(memory),
        asking.contract.name,
        "wrong credential",
        target.origin,
        target.method or "",
        target.path or "",
        target.client,
        application=application.name,
    )
    return wrong_credential_of(asking, application, refusal.decision_id, refusal)


def wrong_credential_of(
    asking: Asking, application: Application | None, decision_id: str, refusal: Refusal | None = None
) -> Answer:
    told = {"error": "invalid_token"} | ({"decision": decision_id} if decision_id else {})
    headers: Headers = ((b"x-auth-decision", decision_id.encode()),) if decision_id else ()
    headers += challenge(asking, application, INVALID_TOKEN) + JSON
    return Answer(401, headers, json.dumps(told).encode(), refusal)


# ---- refused ----------------------------------------------------------------------------------------------


def refuse(
    asking: Asking, memory: Memory, application: Application, subject: Subject | None, decision: Decision
) -> Answer:
    """Refuse with a decision id: a page for a person, JSON for a program, the bare status for nginx."""
    target, username = asking.target, subject.username if subject else ""
    refusal = Refusal(
        new_id(memory),
        asking.contract.name,
        decision.reason,
        target.origin,
        target.method or "",
        target.path or "",
        target.client,
        username,
        application.name,
        decision.failed,
        is_configuration=decision.reason in TOO_LONG or (target.uri is None and decision.reason == NO_RULE),
    )
    if asking.contract.style is STATUS:
        return _refused(403, refusal)
    if not asking.navigates:
        return _refused(403, refusal, as_json=True)
    if asking.is_framed:
        url = target.origin + without_code(target.uri or "/")
        return framed_page(asking, memory.settings, url, status=403, refusal=refusal)
    page = RefusedPage(
        refusal.decision_id,
        target,
        application.name if subject else "",
        username,
        decision.reason,
        asking.languages,
    )
    return refused_page(page, memory.settings, refusal)


def refused_page(page: RefusedPage, settings: GateSettings, refusal: Refusal | None) -> Answer:
    """Give the refused page as an origin of an application may show it: the portal's style, links alone."""
    portal = settings.portal_origin.encode()
    policy = b"default-src 'none'; style-src %s; img-src %s; frame-ancestors 'none'" % (portal, portal)
    headers: Headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy),
        (b"x-content-type-options", b"nosniff"),
        (b"x-auth-decision", page.decision_id.encode()),
        *NO_STORE,
    )
    return Answer(403, headers, settings.render_refused(page), refusal)


def misconfigured(
    contract: Contract, memory: Memory, reason: str, *, status: int, origin: str = "", client: str = ""
) -> Answer:
    """Refuse a check whose proxy is set up wrongly; the reason is for the administrator alone."""
    refusal = Refusal(
        new_id(memory), contract.name, reason, origin=origin, client=client, is_configuration=True
    )
    return _refused(status, refusal, as_json=contract.style is REDIRECT)


def on_the_portals_host(contract: Contract, memory: Memory, target: Target) -> Answer:
    """Refuse another port or scheme of the portal's host, whatever row claims it.

    Cookies know no ports (RFC 6265, section 8.5): the application would receive the portal's session cookie.
    """
    reason = "the portal's host at another port or scheme"
    return misconfigured(contract, memory, reason, status=403, origin=target.origin, client=target.client)


def broken(decision_id: str, page: bytes = b"") -> Answer:
    """Return the answer to whatever failed inside: never 2xx. `page` is what a browser shows."""
    headers = ((b"x-auth-decision", decision_id.encode()), (b"retry-after", b"2"), *NO_STORE)
    if page:
        headers += ((b"content-type", b"text/html; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
    return Answer(503, headers, page)


def overloaded() -> Answer:
    """Return the answer to a check that is shed: 503, to be asked again in a second."""
    return Answer(503, ((b"retry-after", b"1"), *NO_STORE))


def bad_contract_status(contract: Contract) -> int:
    """nginx makes 500 of everything but 401 and 403; the others pass on what is meant."""
    return 403 if contract.style is STATUS else 400


def new_id(memory: Memory) -> str:
    return memory.random(6).hex()


def _refused(status: int, refusal: Refusal, *, as_json: bool = False) -> Answer:
    headers: Headers = ((b"x-auth-decision", refusal.decision_id.encode()),)
    if not as_json:
        return Answer(status, headers + NO_STORE, refusal=refusal)
    body = json.dumps({"error": "refused", "decision": refusal.decision_id}).encode()
    return Answer(status, headers + JSON, body, refusal)


# ---- cookies ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def cookie_name(origin: str, kind: str) -> str:
    """Return the name of our cookie of that kind: `gate` or `nonce`. Without https no prefix is possible.

    Browsers share cookies among the ports of a host (RFC 6265, section 8.5), so each port has its own names:
    `__Host-ikd_gate_8443`. A gate cookie's place may be a shared domain (`.example.com`), where `__Host-`
    would not allow it.
    """
    if origin.startswith("."):
        return "__Secure-ikd_shared"
    port = origin.removeprefix(without_port(origin)).replace(":", "_")
    return f"{'__Host-' if origin.startswith('https:') else ''}ikd_{kind}{port}"


@lru_cache(maxsize=8192)
def gate_name(place: str) -> bytes:
    return cookie_name(place, "gate").encode("ascii")


def set_cookie(origin: str, kind: str, value: str, *, max_age: int | None = None) -> tuple[bytes, bytes]:
    """Return a Set-Cookie header for one origin alone, or a shared domain (RFC 6265bis, section 4.1.3.2)."""
    name, domain = cookie_name(origin, kind), origin[1:] if origin.startswith(".") else ""
    attributes = attributes_of(name, origin.startswith(("https:", ".")), domain, max_age)
    return b"set-cookie", set_cookie_line(name, value, attributes).encode("ascii")


def redirect(url: str, *more: tuple[bytes, bytes], status: int = 302) -> Answer:
    """Redirect to an absolute ASCII URL that was judged or sealed before."""
    if any(ord(character) not in range(0x21, 0x7F) for character in url):
        raise BadTarget("location")
    return Answer(status, ((b"location", url.encode("ascii")), *more, *NO_STORE))
