"""The checks that each kind of proxy sends for a request."""

from __future__ import annotations

from hashlib import sha256

from authgate.check.contracts import checks
from authgate.check.credentials import new_token, token_key
from authgate.check.request import Facts, headers_from
from authgate.cookies import gate_name
from authgate.explain.question import Question

Pairs = list[tuple[bytes, bytes]]

PAGE = [(b"accept", b"text/html"), (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")]
SCRIPT = [(b"accept", b"*/*")]

COOKIE = b"explained"
"""The placeholder for a gate cookie. No real cookie has this value."""

TOKEN = new_token().encode("ascii")
"""The placeholder for an API token. It is created when this module is imported, and is stored nowhere."""


def urls_of_checks(oauth2: str) -> dict[str, str]:
    """Return the check URL of each contract, by name. `oauth2` is IKD_OAUTH2_CONTRACT."""
    named = {contract.name: path for path, contract in checks(oauth2).items() if not path.endswith("/")}
    return named | {"envoy": "/authgate/envoy/"}


def cookie_for(place: str) -> tuple[bytes, Pairs]:
    """Return the key of a session at an origin or shared domain, and the Cookie header for it."""
    return sha256(COOKIE).digest(), [(b"cookie", gate_name(place) + b"=" + COOKIE)]


def token_for() -> tuple[bytes, Pairs]:
    """Return the key of a program, and the Authorization header for it."""
    return token_key(sha256(TOKEN).digest()), [(b"authorization", b"Bearer " + TOKEN)]


def facts_of(question: Question, contract: str, path: str, credential: Pairs, hops: int, now: float) -> Facts:
    """Return the check that a proxy sends for a request. `hops` is IKD_FORWARDED_HOPS."""
    hints = PAGE if question.navigates else SCRIPT
    headers = headers_from([*_described(question, contract, hops), *hints, *credential])
    query = question.query
    if contract == "ingress-nginx" and "host=" not in query:
        query = f"host={question.authority}" + (f"&{query}" if query else "")
    is_envoy = contract == "envoy"
    sent = b"/authgate/envoy" + question.uri.encode("ascii") if is_envoy else None
    if is_envoy:  # the browser's own query
        query = question.uri.partition("?")[2]
    return Facts(path, query, headers, None, now, question.method if is_envoy else "GET", sent)


def _described(question: Question, contract: str, hops: int) -> Pairs:
    scheme, authority = question.scheme.encode("ascii"), question.authority.encode("ascii")
    uri, method = question.uri.encode("ascii"), question.method.encode("ascii")
    client = question.client.encode("ascii")
    forwarded = b", ".join([client, *[b"127.0.0.1"] * hops])
    if contract == "ingress-nginx":
        url = scheme + b"://" + authority + uri
        return [(b"x-original-url", url), (b"x-original-method", method), (b"x-real-ip", client)]
    if contract == "oauth2 nginx":
        return [(b"host", authority), (b"x-scheme", scheme), (b"x-real-ip", client)]
    if contract == "envoy":
        return [(b"host", authority), (b"x-forwarded-proto", scheme), (b"x-forwarded-for", forwarded)]
    return [
        (b"x-forwarded-method", method),
        (b"x-forwarded-proto", scheme),
        (b"x-forwarded-host", authority),
        (b"x-forwarded-uri", uri),
        (b"x-forwarded-for", forwarded),
    ]
