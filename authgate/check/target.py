"""What a request asks for: origins, targets, and the ways in which a path can be read.

Nothing here imports Django: the check and its tests use it as it stands.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
DEFAULT_PORTS = {"http": "80", "https": "443"}

_LABELS = re.compile(
    r"(?!.{254})(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([1-9][0-9]{0,4}))?")
USUAL_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_USUAL_URI = re.compile(rb"/[\x21-\x7e]*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_PLAIN_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.~!$&'()*+,=:@-]+)+|/")
_PLAIN_LOWER_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[a-z0-9_.~!$&'()*+,=:@-]+)+|/")
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

_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})[^/]{0,2}")
# ASCII in more bytes than it needs (RFC 3629, section 10), each byte as `surrogateescape` shows it.
_OVERLONG = re.compile("(?:[\udcc0\udcc1]|(?:\udcf0\udc80|\udce0)[\udc80\udc81])[\udc80-\udcbf]")
_READ_IN_WAYS = re.compile(r"[/\\;?#%.]")
# HFS+ skips these when it compares names (git's CVE-2014-9390): joiners, direction and byte order marks.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")

READINGS_LIMIT = 256
"""More readings than this are nobody's honest path."""

LONGEST_ODD_PATH = 8192
"""Characters of a path with several readings, as nginx's own limit."""

LONGEST_READINGS = 4 * LONGEST_ODD_PATH
"""Characters of all readings of a path together: to find each costs time by its length."""


class BadTarget(ValueError):
    """What was named cannot be read in exactly one way. The text is a reason for an operator."""


def host_of(host: str) -> str:
    """Give the canonical name of a host without its port: lower case, no trailing dot, IPv6 compressed.

    Raises BadTarget for whatever is no host name in ASCII (IDNA's A-labels, RFC 5890) nor an address.
    """
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            raise BadTarget("host") from None
    # Lower case makes ASCII of the Kelvin sign, so what is not ASCII has to go before.
    host = host.lower().removesuffix(".") if host.isascii() else ""
    if not _LABELS.fullmatch(host):
        raise BadTarget("host")
    return host


def origin_from(scheme: str, authority: str) -> str:
    """Give the canonical origin of a scheme and a `host[:port]` (RFC 6454, section 4).

    A WebSocket's scheme counts as that of its handshake. Raises BadTarget.
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
    """Give the origins as administrators write them that cover this one, the most specific first."""
    scheme, _, authority = origin.partition("://")
    if authority.startswith("["):
        return [origin]
    labels = authority.split(".")
    return [origin, *(f"{scheme}://*.{'.'.join(labels[n:])}" for n in range(1, len(labels)))]


def without_port(origin: str) -> str:
    """Give a canonical origin, or a wildcard, as it is at its scheme's own port."""
    return _PORT.sub("", origin)


@lru_cache(maxsize=8192)
def is_on_same_host(origin: str, other: str) -> bool:
    """Return whether two canonical origins have one host, so that browsers send each the other's cookies."""
    return _host_in(origin) == _host_in(other)


def _host_in(origin: str) -> str:
    return without_port(origin).partition("://")[2]


def port_of(origin: str) -> str:
    """Give the port of a canonical origin, also where it is the scheme's own."""
    return origin[len(without_port(origin)) + 1 :] or DEFAULT_PORTS[origin.partition(":")[0]]


def origin_of(text: str) -> str:
    """Give the canonical origin that `text` spells out, path excluded. Raises BadTarget."""
    scheme, separator, authority = text.partition("://")
    if not separator:
        raise BadTarget("origin")
    return origin_from(scheme, authority)


def client_from(text: str) -> str:
    """Return the canonical address in `text`, as proxies and load balancers write clients' addresses.

    Quotes, brackets, a port and a zone are dropped. An IPv4 address mapped into IPv6 counts as itself
    (RFC 4291, section 2.5.5.2). Raises BadTarget if `text` names no address: "unknown", "_hidden", "unix:".
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
    """Tell whether an address is in one of the networks; an IPv4 address mapped into IPv6 counts as itself.

    Raises ValueError where a network is none.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed in ipaddress.ip_network(network) for network in networks)


class Target(NamedTuple):
    """The original request of a check.

    `uri` is path and query as sent, ASCII (other bytes percent-encoded). `method` and `uri` are None
    where the contract does not tell them; then every path and method has to be meant. `plain_path` is the
    path where everybody is known to take it for itself, as `is_read_alike` tells.
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
    """Give path and query of a request as ASCII, each byte outside it percent-encoded (RFC 3987, 3.1).

    Raises BadTarget unless it starts with a slash and holds no control character and no space.
    """
    text = raw.decode("latin-1")
    if _USUAL_URI.fullmatch(raw):
        return text
    if not text.startswith("/") or _UNSAFE.search(text):
        raise BadTarget("uri")
    return in_ascii(text)


def uri_and_plain_path(raw: bytes) -> tuple[str, str | None]:
    """Give what `uri_from` does, and the path in it if `is_read_alike`, all by one scan. Raises BadTarget."""
    plain = _PLAIN_LOWER_URI.fullmatch(raw)
    if plain is None:
        return uri_from(raw), None
    uri = raw.decode("ascii")
    return uri, uri[: plain.end(1)]


def in_ascii(header: str) -> str:
    """Give a header's value, read as latin-1, with each byte outside ASCII percent-encoded."""
    return _NOT_ASCII.sub(lambda match: f"%{ord(match[0]):02X}", header)


def method_from(text: str) -> str:
    """Give a request's method. Raises BadTarget for what no server would take for one."""
    if text not in USUAL_METHODS and not _METHOD.fullmatch(text):
        raise BadTarget("method")
    return text


def code_in(uri: str) -> str | None:
    """Give the one-time code in a URI's query; None without one of exactly the right form."""
    if "ikdcode=" not in uri:
        return None
    matches = map(_CODE.fullmatch, uri.partition("?")[2].split("&"))
    return next((match[1] for match in matches if match), None)


def without_code(uri: str) -> str:
    """Give the URI with every code cut out of its query, every other byte as it was."""
    if code_in(uri) is None:
        return uri
    path, _, query = uri.partition("?")
    kept = [parameter for parameter in query.split("&") if not _CODE.fullmatch(parameter)]
    return f"{path}?{'&'.join(kept)}" if kept else path


def with_code(uri: str, code: str) -> str:
    """Give the URI with the code added, so that `without_code` gives back the very same bytes."""
    return f"{uri}{'&' if '?' in uri else '?'}ikdcode={code}"


def readings(path: str) -> tuple[str, ...]:
    """Return every path that some proxy or backend may take this one for, itself first.

    Decoded up to twice, with `\\` for `/`, parameters (`;…`) cut, an encoded `?` or `#` taken for the real
    one, slashes merged, dot segments resolved and without its trailing slash, in every order
    (CVE-2020-24660 and CVE-2026-95811 of LemonLDAP::NG are what is missed otherwise). Raises BadTarget for
    a path with a raw `#`, an encoded NUL, a `%` without two hexadecimal digits (RFC 3986, section 2.1), which
    servers repair in different ways, and for more or longer readings than any honest path has.
    """
    if _PLAIN_PATH.fullmatch(path):
        return (path,)
    if "#" in path or len(path) > LONGEST_ODD_PATH or _MALFORMED.search(path):
        raise BadTarget("path")
    seen: dict[tuple[str, int], None] = {(path, 0): None}
    pending = [(path, 0)]
    together = len(path)
    while pending:
        reading, decoded = pending.pop()
        for found in _steps(reading, decoded):
            if found in seen:
                continue
            together += len(found[0])
            if "\0" in found[0] or len(seen) >= READINGS_LIMIT or together > LONGEST_READINGS:
                raise BadTarget("path")
            seen[found] = None
            pending.append(found)
    return tuple(dict.fromkeys(reading or "/" for reading, _ in seen))


@lru_cache(maxsize=4096)
def is_read_alike(path: str) -> bool:
    """Tell whether everybody takes this path for itself, whether they heed letter case or not."""
    return _PLAIN_LOWER_PATH.fullmatch(path) is not None


def _steps(path: str, decoded: int) -> list[tuple[str, int]]:
    steps = []
    if "%" in path and decoded < 2:
        steps += [(reading, decoded + 1) for reading in _decodings(path)]
    if "\\" in path:
        steps.append((path.replace("\\", "/"), decoded))
    if ";" in path:
        steps.append((re.sub(r";[^/]*", "", path), decoded))
    if "?" in path or "#" in path:
        steps.append((re.split(r"[?#]", path, maxsplit=1)[0], decoded))
    if "//" in path:
        steps.append((re.sub(r"/{2,}", "/", path), decoded))
    if "/." in path:
        steps.append((_resolve_dots(path), decoded))
    if path.endswith("/") and path != "/":
        steps.append((path[:-1], decoded))
    if not path.isascii():
        if _OVERLONG.search(path):
            steps.append((_OVERLONG.sub(_shortest, path), decoded))
        compatible = unicodedata.normalize("NFKC", path)
        # A wide slash or percent sign, or two dots in one character, become the real ones.
        if _READ_IN_WAYS.findall(compatible) != _READ_IN_WAYS.findall(path):
            steps.append((compatible, decoded))
    return steps


def _decodings(path: str) -> list[str]:
    """Return a path percent-decoded; if an escape is malformed, also as servers repair that.

    Only what was decoded once has such escapes: `/100%25` is honest, and a second decoding meets `/100%`.
    """
    malformed = _MALFORMED.search(path)
    if malformed is None:
        return [_decode(path)]
    without_sign, without_escape = _MALFORMED.sub("", path), _MALFORMED_ESCAPE.sub("", path)
    return [_decode(repaired) for repaired in (path, without_sign, without_escape, path[: malformed.start()])]


def _shortest(overlong: re.Match[str]) -> str:
    """Return the character that lenient decoders make of an overlong form; NUL stays as it is."""
    code = (ord(overlong[0][-2]) & 1) << 6 | ord(overlong[0][-1]) & 0x3F
    return chr(code) if code else overlong[0]


def composed(path: str) -> str:
    """Return a path with composed characters (NFC): canonically equivalent paths become the same."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def folded(path: str) -> str:
    """Return a path as backends compare it that heed neither letter case nor composition.

    Some also compare compatible characters (NFKC, as ZFS can), or leave out invisible ones (HFS+). Upper case
    comes first: a dotless i equals an i in Java's `equalsIgnoreCase`.
    """
    if path.isascii():
        return path.casefold()
    visible = _IGNORED.sub("", unicodedata.normalize("NFKD", path))
    return unicodedata.normalize("NFKC", visible.upper().casefold())


def _decode(path: str) -> str:
    octets = unquote_to_bytes(path.encode("utf-8", "surrogateescape"))
    return octets.decode("utf-8", "surrogateescape")


def _resolve_dots(path: str) -> str:
    """Resolve dot segments as RFC 3986, section 5.2.4 does."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
