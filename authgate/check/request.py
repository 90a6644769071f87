"""The incoming request of a check."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from authgate.decision.target import BadTarget, in_ascii


class RequestHeaders(NamedTuple):
    """Headers by lower-case name. Values of repeated headers are joined, and `doubled` has their names."""

    values: dict[bytes, bytes]
    doubled: frozenset[bytes] = frozenset()

    def require(self, names: frozenset[bytes]) -> dict[bytes, bytes]:
        """Return the headers. Raises BadTarget if one of `names` is missing, empty or repeated."""
        values = self.values
        if self.doubled:
            for name in sorted(names & self.doubled):
                raise BadTarget(f"{name.decode()} doubled")
        if not all(map(values.get, names)):
            missing = next(name for name in sorted(names) if not values.get(name))
            raise BadTarget(f"{missing.decode()} missing")
        return values


def headers_from(raw: Iterable[tuple[bytes, bytes]]) -> RequestHeaders:
    """Return a list of raw headers by name. The names must be in lower case."""
    values: dict[bytes, bytes] = {}
    doubled: set[bytes] = set()
    for name, value in raw:
        if name in values:
            doubled.add(name)
            value = values[name] + (b"; " if name == b"cookie" else b", ") + value
        values[name] = value
    return RequestHeaders(values, frozenset(doubled))


class Facts(NamedTuple):
    """The HTTP request of a check. Its `path` selects the contract; `now` is Unix time.

    `peer` is None for a Unix socket. `sent_target` is None if the server does not provide the request target.
    """

    path: str
    query: str
    headers: RequestHeaders
    peer: str | None
    now: float
    method: str = "GET"
    sent_target: bytes | None = None


class Browser(NamedTuple):
    """How a browser or program sent the request. These hints never affect access."""

    navigates: bool
    prefetches: bool
    is_browser: bool
    """Whether a browser sent it, for a page or a script. Browsers get no challenge for Basic."""
    is_framed: bool
    """Whether the page will be shown in a frame. The portal's own pages never are."""
    is_cross_site: bool
    """Whether another site's page sent it. In its frames, browsers neither send nor store our cookies."""
    referer: str
    languages: str


FRAMES = frozenset((b"iframe", b"frame", b"embed", b"object"))
"""Values of Sec-Fetch-Dest for a page in a frame."""

FETCH_METADATA = (b"sec-fetch-mode", b"sec-fetch-dest", b"sec-fetch-site")
ONLY_BROWSERS_SEND = (*FETCH_METADATA, b"origin", b"sec-websocket-key")


def browser_of(hints: dict[bytes, bytes]) -> Browser:
    """Return the hints in a request. A repeated header is joined, so it never counts as a navigation."""
    get = hints.get
    accepts_html = b"text/html" in get(b"accept", b"").lower()
    return Browser(
        _navigates(hints, accepts_html),
        b"prefetch" in get(b"sec-purpose", b"") + get(b"purpose", b""),
        _is_browser(hints, accepts_html),
        get(b"sec-fetch-dest") in FRAMES,
        get(b"sec-fetch-site") == b"cross-site",
        in_ascii(get(b"referer", b"").decode("latin-1")),
        get(b"accept-language", b"").decode("latin-1"),
    )


def _navigates(hints: dict[bytes, bytes], accepts_html: bool) -> bool:
    """Return whether a browser opens a page.

    Without Fetch Metadata, which browsers send over https only, Accept and X-Requested-With decide. An
    Android WebView sends the name of its app in X-Requested-With.
    """
    if b"sec-websocket-key" in hints:
        return False
    for name in FETCH_METADATA:
        if name in hints:
            return hints.get(b"sec-fetch-mode") == b"navigate"
    return accepts_html and not _is_by_script(hints)


def _is_by_script(hints: dict[bytes, bytes]) -> bool:
    requested_with = hints.get(b"x-requested-with", b"").lower().split(b",")
    return any(each.strip() == b"xmlhttprequest" for each in requested_with)


def _is_browser(hints: dict[bytes, bytes], accepts_html: bool) -> bool:
    """Return whether a browser may have sent the request. Every browser's User-Agent begins with Mozilla/."""
    if accepts_html or not hints.keys().isdisjoint(ONLY_BROWSERS_SEND) or _is_by_script(hints):
        return True
    return hints.get(b"user-agent", b"").lower().startswith(b"mozilla/")
