"""What the kinds of proxies promise: which headers of a check say what the original request was.

A contract is chosen by the check's URL, never guessed from the headers that are present, and reads no
other header: what one proxy sets, another passes on as the client sent it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from authgate.target import BadTarget, Target, method_from, origin_from, uri_from


class Style(Enum):
    """What a proxy can pass on: the status alone (200, 401, 403), or redirects too."""

    STATUS = "status"
    REDIRECT = "redirect"


FORWARDED_FOR_LIMIT = 512
"""Octets of an X-Forwarded-For; nobody honest sits behind so many proxies."""

Read = Callable[[dict[bytes, bytes], int], Target]


@dataclass(frozen=True, slots=True)
class Contract:
    """`headers` are the only ones that speak of the target; `prefix` is where its endpoints live."""

    name: str
    style: Style
    headers: frozenset[bytes]
    read: Read
    prefix: str = "/authgate"


@lru_cache(maxsize=16_384)
def forwarded_client(value: bytes, hops: int) -> str:
    """Give the client's address out of X-Forwarded-For: the last entry, or as many before it as `hops` says.

    Entries further left are the client's own invention. Raises BadTarget where there is none, and for a
    list longer than FORWARDED_FOR_LIMIT: answers are remembered, which must not fill the memory.
    """
    entries = value.decode("latin-1").split(",")
    if not 0 <= hops < len(entries) or len(value) > FORWARDED_FOR_LIMIT:
        raise BadTarget("x-forwarded-for")
    return _address_from(entries[-1 - hops].strip(" \t"), "x-forwarded-for")


def _address_from(text: str, header: str) -> str:
    """Give an address in its canonical form. Raises BadTarget, also for a zone, which may be any text."""
    try:
        address = str(ipaddress.ip_address(text))
    except ValueError:
        raise BadTarget(header) from None
    if "%" in address:
        raise BadTarget(header)
    return address


@lru_cache(maxsize=8192)
def _origin(scheme: bytes, authority: bytes) -> str:
    return origin_from(scheme.decode("latin-1"), authority.decode("latin-1"))


def _forwarded(headers: dict[bytes, bytes], hops: int) -> Target:
    """Read X-Forwarded-{Method,Proto,Host,Uri,For} (reference: nginx as deploy/ sets them; Traefik)."""
    return Target(
        _origin(headers[b"x-forwarded-proto"], headers[b"x-forwarded-host"]),
        method_from(headers[b"x-forwarded-method"].decode("latin-1")),
        uri_from(headers[b"x-forwarded-uri"]),
        forwarded_client(headers[b"x-forwarded-for"], hops),
    )


def _host_and_scheme(headers: dict[bytes, bytes], hops: int) -> Target:
    """Read Host, X-Scheme and X-Real-IP, as oauth2-proxy's documentation has nginx send them."""
    origin = _origin(headers[b"x-scheme"], headers[b"host"])
    return Target(origin, None, None, _address_from(headers[b"x-real-ip"].decode("latin-1"), "x-real-ip"))


def _address(headers: dict[bytes, bytes], hops: int) -> Target:
    """Read where an endpoint's request came in; the page asked for is in `x-forwarded-uri`, if anywhere."""
    origin = _origin(headers[b"x-forwarded-proto"], headers[b"x-forwarded-host"])
    return Target(origin, None, None, forwarded_client(headers[b"x-forwarded-for"], hops))


FORWARDED = frozenset(
    (b"x-forwarded-method", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-uri", b"x-forwarded-for")
)
HOST_AND_SCHEME = frozenset((b"host", b"x-scheme", b"x-real-ip"))
ADDRESS = frozenset((b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-for"))

NGINX = Contract("nginx", Style.STATUS, FORWARDED, _forwarded)
TRAEFIK = Contract("traefik", Style.REDIRECT, FORWARDED, _forwarded)
OAUTH2_NGINX = Contract("oauth2 nginx", Style.STATUS, HOST_AND_SCHEME, _host_and_scheme, "/oauth2")
OAUTH2_TRAEFIK = Contract("oauth2 traefik", Style.REDIRECT, FORWARDED, _forwarded, "/oauth2")

ENDPOINT = Contract("endpoint", Style.REDIRECT, ADDRESS, _address)
OAUTH2_ENDPOINT = {
    "nginx": Contract("oauth2 endpoint", Style.REDIRECT, HOST_AND_SCHEME, _host_and_scheme, "/oauth2"),
    "traefik": Contract("oauth2 endpoint", Style.REDIRECT, ADDRESS, _address, "/oauth2"),
}
OAUTH2_CHECK = {"nginx": OAUTH2_NGINX, "traefik": OAUTH2_TRAEFIK}

ENDPOINTS = ("start", "callback", "sign_out", "userinfo", "refused")


@lru_cache(maxsize=2)
def checks(oauth2: str) -> dict[str, Contract]:
    """Give the contract of each check's URL; `oauth2` is IKD_OAUTH2_CONTRACT."""
    table = {"/authgate/nginx": NGINX, "/authgate/traefik": TRAEFIK, "/oauth2/auth": OAUTH2_CHECK[oauth2]}
    return table | {f"{path}/": contract for path, contract in table.items()}


@lru_cache(maxsize=2)
def endpoints(oauth2: str) -> dict[str, tuple[str, Contract]]:
    """Give the name and contract of each endpoint's URL on a protected origin."""
    ours = {f"/authgate/{name}": (name, ENDPOINT) for name in ENDPOINTS}
    theirs = {f"/oauth2/{name}": (name, OAUTH2_ENDPOINT[oauth2]) for name in ENDPOINTS}
    return ours | theirs | {"/oauth2/sign_in": ("sign_in", OAUTH2_ENDPOINT[oauth2])}


class RequestHeaders(NamedTuple):
    """A request's headers by lower-case name; what came more than once is named in `doubled` and joined."""

    values: dict[bytes, bytes]
    doubled: frozenset[bytes] = frozenset()

    def require(self, names: frozenset[bytes]) -> dict[bytes, bytes]:
        """Give the headers, each of `names` once and not empty. Raises BadTarget with the one at fault."""
        values = self.values
        if self.doubled:
            for name in names & self.doubled:
                raise BadTarget(f"{name.decode()} doubled")
        if not all(map(values.get, names)):
            lacking = next(name for name in names if not values.get(name))
            raise BadTarget(f"{lacking.decode()} missing")
        return values


def headers_from(raw: Iterable[tuple[bytes, bytes]]) -> RequestHeaders:
    """Give a raw header list by name. Names are lower case already."""
    values: dict[bytes, bytes] = {}
    doubled: set[bytes] = set()
    for name, value in raw:
        if name in values:
            doubled.add(name)
            value = values[name] + (b"; " if name == b"cookie" else b", ") + value
        values[name] = value
    return RequestHeaders(values, frozenset(doubled))
