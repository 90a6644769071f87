"""Requests to the check as a proxy would send them: raw headers in, an answer out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable

from django.http import HttpResponse
from django.test import Client

from accounts.models import User
from authgate.check.memory import Memory
from authgate.check.request import Facts, headers_from
from authgate.check.responses import Answer
from authgate.cookies import cookie_name
from authgate.endpoints.check_view import answer_check
from authgate.models import SignIn
from authgate.peer import SENT_TARGET
from authgate.sign_ins import begin_sign_in, open_gate
from authgate.worker import loader

WIKI = "https://wiki.example.com"
Headers = list[tuple[bytes, bytes]]
NAVIGATION: Headers = [(b"sec-fetch-mode", b"navigate"), (b"accept", b"text/html")]


def forwarded(url: str, *, method: str = "GET", client: str = "198.51.100.7") -> Headers:
    """Return the X-Forwarded-* headers of a request for `url`."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return [
        (b"x-forwarded-method", method.encode()),
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-host", host.encode()),
        (b"x-forwarded-uri", (slash + path or "/").encode("latin-1")),
        (b"x-forwarded-for", client.encode()),
    ]


def facts(
    url: str,
    *more: Iterable[tuple[bytes, bytes]],
    check: str = "/authgate/traefik",
    query: str = "",
    method: str = "GET",
    cookie: str = "",
    peer: str | None = "127.0.0.1",
) -> Facts:
    headers = forwarded(url, method=method)
    for group in more:
        headers += group
    if cookie:
        headers.append((b"cookie", cookie.encode("latin-1")))
    return Facts(check, query, headers_from(headers), peer, time.time())


def ask(asked: Facts, memory: Memory | None = None) -> Answer:
    return answer_check(asked, memory or loader.memory_for_one_request())


def header(answer: Answer, name: bytes) -> bytes | None:
    values = [value for header, value in answer.headers if header == name]
    assert len(values) <= 1
    return values[0] if values else None


# ---- endpoints of protected origins, and people -----------------------------------------------------------


_CLIENT = Client()
"""One client for all: creating it loads the middleware. Its cookies do not affect requests with a scope."""


def cookies_set(answer: Answer | HttpResponse) -> dict[str, str]:
    """Return the cookies of an answer by name. Each value is the rest of the header line."""
    if isinstance(answer, Answer):
        lines = [value.decode() for name, value in answer.headers if name == b"set-cookie"]
    else:
        lines = [answer["Set-Cookie"]] if "Set-Cookie" in answer else []
    return {line.partition("=")[0]: line.partition("=")[2] for line in lines}


def endpoint(
    path: str,
    origin: str = WIKI,
    *more: Iterable[tuple[bytes, bytes]],
    cookie: str = "",
    method: str = "GET",
    peer: str | None = "127.0.0.1",
    forwarded_uri: str = "",
    forwarded_method: str = "GET",
) -> HttpResponse:
    """Request an endpoint as nginx does when the browser is at `origin`."""
    scheme, _, host = origin.partition("://")
    path, _, query = path.partition("?")
    headers = [
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-host", host.encode()),
        (b"x-forwarded-for", b"198.51.100.7"),
        (b"x-forwarded-method", forwarded_method.encode()),
        (b"x-forwarded-uri", (forwarded_uri or f"{path}?{query}".removesuffix("?")).encode("latin-1")),
    ]
    return raw_endpoint(
        path, [*headers, *(pair for group in more for pair in group)], query, cookie, method, peer
    )


def raw_endpoint(
    path: str,
    headers: Headers,
    query: str = "",
    cookie: str = "",
    method: str = "GET",
    peer: str | None = "127.0.0.1",
) -> HttpResponse:
    if cookie:
        headers = [*headers, (b"cookie", cookie.encode("latin-1"))]
    scope = scope_of(path, query, headers, peer)
    response = _CLIENT.generic(method, path, QUERY_STRING=query, **{"asgi.scope": scope})
    assert isinstance(response, HttpResponse)
    return response


def scope_of(path: str, query: str, headers: Headers, peer: str | None) -> dict[str, object]:
    """Return the scope of a request as the server passes it on."""
    sent = f"{path}?{query}" if query else path
    client = (peer, 40000) if peer else None
    return {"type": "http", "headers": headers, "client": client, "state": {SENT_TARGET: sent.encode()}}


def begin(user: User, *, keep: bool = False) -> SignIn:
    """Create a sign-in of a user, without a portal session."""
    return begin_sign_in(
        user,
        session_digest=secrets.token_hex(32),
        address=None,
        user_agent="",
        methods=["password"],
        keep=keep,
    )


def signed_in(user: User, origin: str = WIKI) -> str:
    """Sign a user in on an origin, and return the Cookie header of the browser."""
    return f"{cookie_name(origin, 'gate')}={open_gate(begin(user), origin)}"
