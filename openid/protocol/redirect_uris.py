"""Redirect URIs: which may be registered, and which requests may use. Compared byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

LONGEST = 1000
"""Characters of a redirect URI at most."""

_SAFE = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+")
"""Printable ASCII without quotes, angle brackets, backslash, caret, backtick, braces and bar."""

_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/(?:[^/].*)?")
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?(/.*)?")
_PORTS = {"http": 80, "https": 443}
_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


def problem_of(uri: str, *, is_public: bool, without_https: bool = False) -> str:
    """Return why a redirect URI cannot be registered; "" if it can.

    The portal sends a browser with a code only to https, to http on the client's own machine, and to an app's
    private scheme with a dot (8252, section 7.1). It never sends one to `javascript:` or `data:`.
    """
    if not uri or len(uri) > LONGEST or not _SAFE.fullmatch(uri):
        return "characters"
    if "#" in uri:
        return "fragment"
    if is_public and _PRIVATE_SCHEME.fullmatch(uri):
        return ""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "unreadable"
    if not uri.startswith(("https://", "http://")) or not host:
        return "scheme"
    if "@" in parts.netloc or "*" in parts.netloc:
        return "host"
    if parts.scheme == "http" and host not in _LOCAL_HOSTS and not without_https:
        return "without https"
    return ""


def is_loopback(uri: str) -> bool:
    """Return whether a registered URI points to the browser's own machine."""
    return urlsplit(uri).hostname in _LOCAL_HOSTS


def matches(uri: str, registered: Iterable[str], *, is_public: bool) -> bool:
    """Return whether a request's redirect URI is registered.

    A native app on the loopback address chooses its port at run time (8252, section 7.3).
    """
    wanted = _without_loopback_port(uri) if is_public else None
    for each in registered:
        if uri == each:
            return True
        if wanted is not None and wanted == _without_loopback_port(each):
            return True
    return False


def _without_loopback_port(uri: str) -> str | None:
    match = _LOOPBACK.fullmatch(uri)
    return f"{match[1]}{match[2] or ''}" if match else None


def with_parameters(uri: str, parameters: dict[str, str]) -> str:
    """Return a registered URI with parameters added. Its own query stays unchanged."""
    separator = "&" if "?" in uri else "?"
    return f"{uri}{separator}{urlencode(parameters)}"


def origin_of(uri: str) -> str:
    """Return the origin of a redirect URI as browsers send it (6454, section 6.2); "" for an app's scheme."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not host:
        return ""
    shown = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown}"
    return origin if port in (None, _PORTS[parts.scheme]) else f"{origin}:{port}"
