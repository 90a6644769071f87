"""Asks the check as a proxy would, without one: raw headers in, an answer out."""

from __future__ import annotations

import time
from collections.abc import Iterable

from authgate import loading
from authgate.answer import Answer
from authgate.check import Facts
from authgate.contracts import headers_from
from authgate.memory import Memory
from authgate.views import answer_check

Headers = list[tuple[bytes, bytes]]
NAVIGATION: Headers = [(b"sec-fetch-mode", b"navigate"), (b"accept", b"text/html")]


def forwarded(url: str, *, method: str = "GET", client: str = "198.51.100.7") -> Headers:
    """Give the X-Forwarded-* headers of a request for `url`."""
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
    return answer_check(asked, memory or loading.memory_for_one_request())


def header(answer: Answer, name: bytes) -> bytes | None:
    values = [value for header, value in answer.headers if header == name]
    assert len(values) <= 1
    return values[0] if values else None
