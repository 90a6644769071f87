"""The requests of the doctor. Each has its own token, and a path that no application uses by chance."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from authgate.cookies import cookie_name
from authgate.doctor.lines import ENDPOINTS
from authgate.doctor.tokens import HEADER, MARK

Lines = tuple[tuple[str, str], ...]

SPOOFED_CLIENT = "203.0.113.66"
SPOOFED_HOST = "ikd-doctor.invalid"
SPOOFED_PATH = "/ikd-doctor-spoofed"
SPOOFED_USER = "ikd-doctor-spoofed"
COOKIE = "ikd-doctor"
AUTHORIZATION = "Bearer ikd-doctor"

BROWSER: Lines = (
    ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("Accept-Language", "en"),
    ("User-Agent", "Mozilla/5.0 (compatible; ikd-doctor)"),
    ("Sec-Fetch-Site", "none"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
)
WEBSOCKET: Lines = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "aWtkLWRvY3RvcgAAAAAAAA=="),
    ("Sec-WebSocket-Version", "13"),
)
IDENTITY = (
    *(f"X-Auth-Request-{name}" for name in ("User", "Email", "Groups", "Preferred-Username", "Access-Token")),
    *(f"Remote-{name}" for name in ("User", "Email", "Groups", "Name")),
    "X-Forwarded-User",
    "X-Ikd-Jwt",
)
ODD_PATHS = ("a%2Fb", "a//b", "a/./b", "a/x/../b", "%61/b;c=d", "a/x/%2e%2e/b")
"""Endings of paths that servers read in different ways."""

PUBLISHED = ("nginx", "traefik", "caddy", "haproxy", "ingress-nginx", "envoy/page")


@dataclass(frozen=True, slots=True)
class Probe:
    """A request. `path` includes the query; `target` is the request target if it differs; `host` is the Host.

    The header `spelled` contains the token. If `spelled` is empty, the request has no token.
    """

    name: str
    path: str
    host: str
    headers: Lines = BROWSER
    method: str = "GET"
    target: str = ""
    spelled: str = "Sec-Purpose"

    def octets(self, token: str) -> bytes:
        """Return the request as bytes."""
        lines = [f"{self.method} {self.target or self.path} HTTP/1.1", f"Host: {self.host}"]
        if self.spelled:
            lines.append(f"{self.spelled}: {MARK.decode()}{token}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if not any(name == "Connection" for name, _ in self.headers):
            lines.append("Connection: close")
        if self.method == "POST":
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def probes_for(origin: str, paths: tuple[str, ...]) -> Iterator[Probe]:
    """Yield the requests for an origin, starting with a plain one. `paths` are further paths to test."""
    host = origin.partition("://")[2]
    base = f"/ikd-doctor-{secrets.token_hex(8)}"
    secure = origin.startswith("https:")
    credentials = (("Cookie", f"theme=dark; {cookie_name(origin, 'gate')}={COOKIE}"),)
    yield Probe("plain", f"{base}/page?x=1", host, (*BROWSER, *credentials, ("Authorization", AUTHORIZATION)))
    yield Probe("visitor", f"{base}/page", host, spelled="")
    for path in dict.fromkeys(("/", *paths)):
        yield Probe("path", quote(path, safe="/%:@!$&'()*+,;=~-._?"), host)
    yield Probe("method", f"{base}/form", host, method="POST")
    yield Probe("websocket", f"{base}/socket", host, (*BROWSER[2:3], *WEBSOCKET, ("Origin", origin)))
    for times in (1, 2):
        yield Probe("spoofed", f"{base}/spoofed", host, (*BROWSER, *(_spoofed(secure) * times)))
    for spoofed in (_identity(), _identity_thrice()):
        yield Probe("identity", f"{base}/identity", host, (*BROWSER, *spoofed))
    yield Probe("aliases", f"{base}/aliases", host, (*BROWSER, *_aliases()))
    yield Probe("alias of the token", f"{base}/aliases", host, spelled=HEADER.decode().replace("-", "_"))
    for end in ODD_PATHS:
        yield Probe("odd path", f"{base}/{end}", host)
    yield Probe("other host", f"{base}/host", SPOOFED_HOST)
    yield Probe("other port", f"{base}/port", f"{host.rpartition(':')[0] or host}:1")
    yield Probe("absolute", f"{base}/absolute", host, target=f"https://{SPOOFED_HOST}{base}/absolute")
    yield Probe("absolute", f"{base}/absolute", SPOOFED_HOST, target=f"{origin}{base}/absolute")
    for name in ENDPOINTS:
        yield Probe(f"endpoint {name}", f"/authgate/{name}", host)
    for name in PUBLISHED:
        yield Probe("published check", f"/authgate/{name}", host, (*BROWSER, *_spoofed(secure)[:5]))


def _spoofed(secure: bool) -> Lines:
    """Return all headers that describe the original request for some proxy, with forged values."""
    return (
        ("X-Forwarded-Proto", "http" if secure else "https"),
        ("X-Forwarded-Host", SPOOFED_HOST),
        ("X-Forwarded-Uri", SPOOFED_PATH),
        ("X-Forwarded-Method", "DELETE"),
        ("X-Forwarded-For", SPOOFED_CLIENT),
        ("X-Real-IP", SPOOFED_CLIENT),
        ("X-Scheme", "http" if secure else "https"),
        ("X-Original-URL", f"https://{SPOOFED_HOST}{SPOOFED_PATH}"),
        ("X-Original-Method", "DELETE"),
        ("Forwarded", f"for={SPOOFED_CLIENT};host={SPOOFED_HOST}"),
    )


def _identity() -> Lines:
    """Return all identity headers with a forged user."""
    return tuple((name, SPOOFED_USER) for name in IDENTITY)


def _identity_thrice() -> Lines:
    """Return each identity header three times, in different letter case. The first one is empty."""
    return tuple(
        line
        for name in IDENTITY
        for line in ((name, ""), (name.upper(), SPOOFED_USER), (name.lower(), SPOOFED_USER))
    )


def _aliases() -> Lines:
    """Return headers with underscores or dots that applications read like names with dashes.

    Some proxies pass on a fixed list of headers, so one name begins like a listed name.
    """
    names = (
        "X_Forwarded_Host",
        "X_Forwarded_Uri",
        "X_Auth_Request_User",
        "X.Auth.Request.User",
        "Remote_User",
    )
    return (*((name, SPOOFED_USER) for name in names), ("Sec-Fetch-Ikd_Doctor", SPOOFED_USER))
