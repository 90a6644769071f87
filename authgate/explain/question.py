"""A request to explain, as an administrator describes it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from authgate.decision.target import BadTarget, client_from, origin_from, uri_from

LONGEST_URL = 8000
LONGEST_METHOD = 32


class Question(NamedTuple):
    """A request to an application. `scheme`, `authority` and `uri` are as a browser sends them.

    `method` is as typed, because methods are case-sensitive (RFC 9110, section 9.1). `query` is the query of
    the check URL in the proxy's configuration. `navigates` means that a browser opens a page.
    """

    scheme: str
    authority: str
    uri: str
    method: str = "GET"
    client: str = "192.0.2.1"
    query: str = ""
    navigates: bool = True

    @property
    def origin(self) -> str:
        return origin_from(self.scheme, self.authority)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.uri}"


class BadQuestion(ValueError):
    """The description is not a valid request. `field` and `fault` name the mistake."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field}: {fault}")
        self.field, self.fault = field, fault


def question_from(
    url: str, *, method: str = "GET", client: str = "192.0.2.1", query: str = "", navigates: bool = True
) -> Question:
    """Return the request that a browser sends for a typed URL. Raises BadQuestion.

    Without a scheme, it is https. The fragment is removed, and characters outside ASCII are percent-encoded.
    """
    scheme, authority, uri = _parts(url.strip())
    if not method or len(method) > LONGEST_METHOD or not method.isascii() or not method.isprintable():
        raise BadQuestion("method", "method")
    try:
        client_from(client)
    except BadTarget:
        raise BadQuestion("client", "address") from None
    if not query.isascii() or not query.isprintable() or " " in query:
        raise BadQuestion("query", "query")
    return Question(scheme, authority, uri, method, client, query.removeprefix("?"), navigates)


def _parts(url: str) -> tuple[str, str, str]:
    if len(url) > LONGEST_URL:
        raise BadQuestion("url", "long")
    scheme, separator, rest = url.partition("://")
    if not separator or "/" in scheme or "?" in scheme:
        scheme, rest = "https", url
    rest = rest.partition("#")[0]
    end = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    authority, uri = rest[:end], rest[end:]
    if "@" in authority:
        raise BadQuestion("url", "userinfo")
    try:
        origin_from(scheme, authority)
        uri = quote(uri if uri.startswith("/") else f"/{uri}", safe=_ASCII)
        return scheme, authority, uri_from(uri.encode("ascii"))
    except BadTarget as problem:
        raise BadQuestion("url", str(problem)) from None
    except UnicodeEncodeError:
        raise BadQuestion("url", "uri") from None


_ASCII = "".join(map(chr, range(0x80)))
"""Characters that stay as typed, because proxies may read their encoded form differently."""
