"""The target of a request: origin, client address, method and URI in canonical form."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
DEFAULT_PORTS = {"http": "80", "https": "443"}

_LABELS = re.compile(
    r"(?!.{254})(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([1-9][0-9]{0,4}))?")
USUAL_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

SHORT_URI = 128
"""Bytes of the longest URI that is remembered in parsed form."""

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_USUAL_URI = re.compile(rb"/[\x21-\x7e]*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_PLAIN_LOWER_URI = re.compile(
    rb"((?:/(?!\.{1,2}(?:[/?]|\Z))[a-z0-9_.~!$&'()*+,=:@-]+)+|/)(?:\?[\x21-\x7e]*)?"
)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_PORT = re.compile(r":[0-9]+\Z")
_CODE = re.compile(r"ikdcode=([A-Za-z0-9_-]{43})")
# An IPv4 address, an IPv6 address in brackets, each with a port or without one, or a bare IPv6 address. Zones
# are interface names (RFC 4007, section 11), ports numbers or obfuscated (RFC 7239, section 6).
_ADDRESS = re.compile(
    r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:%[A-Za-z0-9._~@:-]{1,64})?\])"
    r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,64}))?"
    r"|([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:%[A-Za-z0-9._~@:-]{1,64})?"
)


class BadTarget(ValueError):
    """A value that is invalid, or that servers read in different ways. The text is a reason for operators."""


def host_of(host: str) -> str:
    """Return the canonical name of a host without its port: lower case, no trailing dot, IPv6 compressed.

    Raises BadTarget for everything except addresses and host names in ASCII (IDNA's A-labels, RFC 5890).
    """
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            raise BadTarget("host") from None
    # Refuse other characters first: in lower case, the Kelvin sign becomes an ASCII k.
    host = host.lower().removesuffix(".") if host.isascii() else ""
    if not _LABELS.fullmatch(host):
        raise BadTarget("host")
    return host


def origin_from(scheme: str, authority: str) -> str:
    """Return the canonical origin of a scheme and a `host[:port]` (RFC 6454, section 4).

    A WebSocket's scheme becomes that of its handshake. Raises BadTarget.
    """
    canonical_scheme = SCHEMES.get(scheme.lower())
    if canonical_scheme is None:
        raise BadTarget("scheme")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise BadTarget("host")
    host, port = host_of(match[1]), match[2]
    if port is None or port == DEFAULT_PORTS[canonical_scheme]:
        return f"{canonical_scheme}://{host}"
    if int(port) > 65535:
        raise BadTarget("port")
    return f"{canonical_scheme}://{host}:{port}"


def origins_claiming(origin: str) -> list[str]:
    """Return this origin and the wildcards that cover it, the most specific first."""
    scheme, _, authority = origin.partition("://")
    if authority.startswith("["):
        return [origin]
    labels = authority.split(".")
    return [origin, *(f"{scheme}://*.{'.'.join(labels[n:])}" for n in range(1, len(labels)))]


def without_port(origin: str) -> str:
    """Return a canonical origin or wildcard without its port."""
    return _PORT.sub("", origin)


@lru_cache(maxsize=8192)
def is_on_same_host(origin: str, other: str) -> bool:
    """Return whether two canonical origins have the same host. Browsers send each the other's cookies."""
    return _host_in(origin) == _host_in(other)


def _host_in(origin: str) -> str:
    return without_port(origin).partition("://")[2]


def port_of(origin: str) -> str:
    """Return the port of a canonical origin, including the scheme's default."""
    return origin[len(without_port(origin)) + 1 :] or DEFAULT_PORTS[origin.partition(":")[0]]


def origin_of(text: str) -> str:
    """Return the canonical origin of a text such as `https://host:port`. Raises BadTarget."""
    scheme, separator, authority = text.partition("://")
    if not separator:
        raise BadTarget("origin")
    return origin_from(scheme, authority)


def client_from(text: str) -> str:
    """Return the canonical address in a text that a proxy or load balancer wrote.

    Quotes, brackets, port and zone are removed. An IPv4 address mapped into IPv6 becomes the IPv4 address
    (RFC 4291, section 2.5.5.2). Raises BadTarget for other texts, such as "unknown", "_hidden" or "unix:".
    """
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise BadTarget("address")
    try:
        address = ipaddress.ip_address(match[1] or match[2] or match[3])
    except ValueError:
        raise BadTarget("address") from None
    return str(getattr(address, "ipv4_mapped", None) or address)


@lru_cache(maxsize=65536)
def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Return whether an address is in one of the networks. Compare an IPv4-mapped address as IPv4.

    Raises ValueError for an invalid network.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed in ipaddress.ip_network(network) for network in networks)


class Target(NamedTuple):
    """The original request of a check.

    `uri` is path and query as sent, with bytes outside ASCII percent-encoded. `method` and `uri` are None if
    the contract has no header for them: the rules must then admit every method and path. `plain_path` is the
    path if `paths.has_one_variant`, otherwise None.
    """

    origin: str
    method: str | None
    uri: str | None
    client: str
    plain_path: str | None = None

    @property
    def path(self) -> str | None:
        return None if self.uri is None else self.uri.partition("?")[0]

    @property
    def url(self) -> str:
        return self.origin + (self.uri or "/")


def uri_from(raw: bytes) -> str:
    """Return path and query of a request in ASCII, with other bytes percent-encoded (RFC 3987, section 3.1).

    Raises BadTarget if it does not start with a slash, or contains a control character or a space.
    """
    text = raw.decode("latin-1")
    if _USUAL_URI.fullmatch(raw):
        return text
    if not text.startswith("/") or _UNSAFE.search(text):
        raise BadTarget("uri")
    return in_ascii(text)


def uri_and_plain_path(raw: bytes) -> tuple[str, str | None]:
    """Return the URI from `uri_from`, and its path if it has only one variant. Raises BadTarget.

    Results for short URIs are cached, because browsers request the files of a page again and again.
    """
    return _short_uri(raw) if len(raw) <= SHORT_URI else _read_uri(raw)


def _read_uri(raw: bytes) -> tuple[str, str | None]:
    plain = _PLAIN_LOWER_URI.fullmatch(raw)
    if plain is None:
        return uri_from(raw), None
    uri = raw.decode("ascii")
    return uri, uri[: plain.end(1)]


_short_uri = lru_cache(maxsize=8192)(_read_uri)


def in_ascii(header: str) -> str:
    """Return a header's value, read as latin-1, with each byte outside ASCII percent-encoded."""
    return _NOT_ASCII.sub(lambda match: f"%{ord(match[0]):02X}", header)


def method_from(text: str) -> str:
    """Return a request's method. Raises BadTarget for values that no server accepts."""
    if text not in USUAL_METHODS and not _METHOD.fullmatch(text):
        raise BadTarget("method")
    return text


def code_in(uri: str) -> str | None:
    """Return the one-time code in a URI's query, or None if none has exactly the right form."""
    if "ikdcode=" not in uri:
        return None
    matches = map(_CODE.fullmatch, uri.partition("?")[2].split("&"))
    return next((match[1] for match in matches if match), None)


def without_code(uri: str) -> str:
    """Return the URI without any code in its query, every other byte unchanged."""
    if code_in(uri) is None:
        return uri
    path, _, query = uri.partition("?")
    kept = [parameter for parameter in query.split("&") if not _CODE.fullmatch(parameter)]
    return f"{path}?{'&'.join(kept)}" if kept else path
