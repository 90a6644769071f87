"""Contracts: the headers in which each kind of proxy describes the original request.

The check's URL selects the contract. It is never guessed from the headers that are present, and reads no
others, because one proxy passes on unchanged what another one sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import NoReturn

from authgate.check.query import NO_QUERY, Query, query_from
from authgate.check.request import Facts, RequestHeaders
from authgate.decision.target import (
    USUAL_METHODS,
    BadTarget,
    Target,
    client_from,
    method_from,
    origin_from,
    port_of,
    uri_and_plain_path,
)


class Style(Enum):
    """What a proxy can pass on to a client: only the status (200, 401, 403), or redirects too."""

    STATUS = "status"
    REDIRECT = "redirect"


STATUS, REDIRECT = Style

FORWARDED_FOR_LIMIT = 512
"""Bytes of an X-Forwarded-For. No ordinary client is behind so many proxies."""


Read = Callable[[Facts, Query, int], Target]


@dataclass(frozen=True, slots=True)
class Contract:
    """What one kind of proxy sends with a check.

    `read` returns the target, from the headers that this kind of proxy sets itself. `prefix` is the path of
    the endpoints. `parameters` are those in the query of the check's URL that belong to the contract.

    `has_filters`: the query of the check's URL is the administrator's, not the browser's.
    `believes_port`: the proxy guarantees the port of the origin.
    `reads_forwarded_uri`: only X-Forwarded-Uri contains the path.
    `shows_503`: browsers see a page with that status, because the proxy passes it on or requests the page.
    `site`: the headers with the scheme and the host.
    """

    name: str
    style: Style
    read: Read
    prefix: str = "/authgate"
    parameters: frozenset[str] = frozenset()
    has_filters: bool = True
    believes_port: bool = True
    reads_forwarded_uri: bool = False
    shows_503: bool = True
    site: tuple[bytes, bytes] = (b"x-forwarded-proto", b"x-forwarded-host")

    def query(self, text: str) -> Query:
        """Return the parsed query of a check's URL, or an empty one if the query is the browser's."""
        return query_from(text, self.parameters) if self.has_filters else NO_QUERY


@lru_cache(maxsize=16_384)
def forwarded_client(value: bytes, hops: int) -> str:
    """Return the client's address in X-Forwarded-For: the entry `hops` before the last one.

    Clients can write all entries further left. Empty entries are not skipped: otherwise a proxy that does not
    know its peer's address would select the client's own entry. Raises BadTarget if the entry is not an
    address, or the list is longer than FORWARDED_FOR_LIMIT, because cached results must not fill memory.
    """
    entries = value.decode("latin-1").split(",")
    if not 0 <= hops < len(entries) or len(value) > FORWARDED_FOR_LIMIT:
        raise BadTarget("x-forwarded-for")
    return _address_from(entries[-1 - hops].strip(" \t"), "x-forwarded-for")


def _address_from(text: str, header: str) -> str:
    """Return the address in a header. Raises BadTarget with the header's name."""
    try:
        return client_from(text)
    except BadTarget:
        raise BadTarget(header) from None


@lru_cache(maxsize=8192)
def _origin(scheme: bytes, authority: bytes) -> str:
    return origin_from(scheme.decode("latin-1"), authority.decode("latin-1"))


_METHODS = {method.encode(): method for method in USUAL_METHODS}


def _forwarded(facts: Facts, query: Query, hops: int) -> Target:
    """Read X-Forwarded-{Method,Proto,Host,Uri,For}. These proxies overwrite them."""
    headers = facts.headers
    values = headers.values
    if headers.doubled:
        headers.require(FORWARDED)
    if b"x-forwarded-prefix" in values or b"x-replaced-path" in values:
        _refuse_rewritten(values)
    try:
        method = values[b"x-forwarded-method"]
        uri, plain_path = uri_and_plain_path(values[b"x-forwarded-uri"])
        return Target(
            _origin(values[b"x-forwarded-proto"], values[b"x-forwarded-host"]),
            _METHODS.get(method) or method_from(method.decode("latin-1")),
            uri,
            forwarded_client(values[b"x-forwarded-for"], hops),
            plain_path,
        )
    except (KeyError, BadTarget):
        headers.require(FORWARDED)  # if one is missing, names it
        raise


def _refuse_rewritten(values: dict[bytes, bytes]) -> NoReturn:
    """Raise BadTarget with the header that one of Traefik's middlewares set when it changed the path.

    X-Forwarded-Uri then has only the changed path, which other rules may cover. If a proxy passes on such a
    header from a client, the client is refused.
    """
    name = next(name for name in REWRITTEN if name in values)
    raise BadTarget(f"{name.decode()}: the path was rewritten before the check")


def _forwarded_raw_host(facts: Facts, query: Query, hops: int) -> Target:
    """Read X-Forwarded-* of a proxy that passes on the client's Host, with any port in it.

    `port` in the query of the check's URL is the port that the proxy serves.
    """
    target = _forwarded(facts, query, hops)
    if query.fault_of_parameter:
        raise BadTarget(query.fault_of_parameter)
    if query.port and query.port != port_of(target.origin):
        raise BadTarget("port of x-forwarded-host is not the one in the check's URL")
    return target


def _host_and_scheme(facts: Facts, query: Query, hops: int) -> Target:
    """Read Host, X-Scheme and X-Real-IP, as oauth2-proxy's documentation has nginx send them."""
    values = facts.headers.require(HOST_AND_SCHEME)
    origin = _origin(values[b"x-scheme"], values[b"host"])
    return Target(origin, None, None, _address_from(values[b"x-real-ip"].decode("latin-1"), "x-real-ip"))


def _address(facts: Facts, query: Query, hops: int) -> Target:
    """Read the origin and client of a request for an endpoint."""
    values = facts.headers.require(ADDRESS)
    origin = _origin(values[b"x-forwarded-proto"], values[b"x-forwarded-host"])
    return Target(origin, None, None, forwarded_client(values[b"x-forwarded-for"], hops))


def _sent(facts: Facts, query: Query, hops: int) -> Target:
    """Read Host, method and path of the check itself. Envoy's ext_authz over HTTP adds a prefix to the path.

    Envoy sets x-forwarded-proto and the last entry of x-forwarded-for. Other headers can be the client's, and
    are not read.
    """
    values = facts.headers.require(SENT)
    sent = facts.sent_target
    if sent is None or not sent.startswith(b"/authgate/envoy/"):
        raise BadTarget("request target")
    uri, plain_path = uri_and_plain_path(sent.removeprefix(b"/authgate/envoy"))
    return Target(
        _origin(values[b"x-forwarded-proto"], values[b"host"]),
        method_from(facts.method),
        uri,
        forwarded_client(values[b"x-forwarded-for"], hops),
        plain_path,
    )


def _original_url(facts: Facts, query: Query, hops: int) -> Target:
    """Read X-Original-URL, X-Original-Method and X-Real-IP of ingress-nginx.

    The URL's host is `$http_host`, which the client writes. In a request in absolute form, ingress-nginx
    serves another host. `host` in the query of the check's URL is the served one, with a port only if the
    administrator wrote one.

    A check with X-Forwarded-Proto is refused. ingress-nginx removes that header. Traefik supports the same
    annotations and adds the header, but passes on X-Original-URL from the client, who would choose the path.
    """
    values = facts.headers.require(ORIGINAL)
    if b"x-forwarded-proto" in values:
        raise BadTarget("x-forwarded-proto, which ingress-nginx never sends")
    scheme, _, rest = values[b"x-original-url"].partition(b"://")
    authority, slash, path = rest.partition(b"/")
    if query.fault_of_parameter:
        raise BadTarget(query.fault_of_parameter)
    origin = _origin(scheme, authority)
    if _origin(scheme, query.host.encode("latin-1")) != origin:
        raise BadTarget("host of x-original-url is not the one that is served")
    uri, plain_path = uri_and_plain_path(slash + path)
    return Target(
        origin,
        method_from(values[b"x-original-method"].decode("latin-1")),
        uri,
        _address_from(values[b"x-real-ip"].decode("latin-1"), "x-real-ip"),
        plain_path,
    )


def site_named(contract: Contract, headers: RequestHeaders) -> str:
    """Return the origin in an invalid check, or an empty text. Without a scheme, https is assumed.

    It shows administrators where the mistake is, and has no effect on the answer.
    """
    scheme, host = (headers.values.get(name, b"").decode("latin-1") for name in contract.site)
    try:
        return origin_from(
            scheme.partition("://")[0] or "https", (host.partition("://")[2] or host).partition("/")[0]
        )
    except BadTarget:
        return ""


FORWARDED = frozenset(
    (b"x-forwarded-method", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-uri", b"x-forwarded-for")
)
REWRITTEN = (b"x-forwarded-prefix", b"x-replaced-path")
HOST_AND_SCHEME = frozenset((b"host", b"x-scheme", b"x-real-ip"))
ADDRESS = frozenset((b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-for"))
SENT = frozenset((b"host", b"x-forwarded-proto", b"x-forwarded-for"))
ORIGINAL = frozenset((b"x-original-url", b"x-original-method", b"x-real-ip"))

SCHEME_AND_HOST = (b"x-scheme", b"host")

NGINX = Contract("nginx", STATUS, _forwarded, reads_forwarded_uri=True)
INGRESS_NGINX = Contract(
    "ingress-nginx",
    STATUS,
    _original_url,
    parameters=frozenset(("host",)),
    shows_503=False,
    site=(b"x-original-url", b"x-original-url"),
)
TRAEFIK = Contract(
    "traefik",
    REDIRECT,
    _forwarded_raw_host,
    parameters=frozenset(("port",)),
    believes_port=False,
    reads_forwarded_uri=True,
)
CADDY = replace(TRAEFIK, name="caddy")
HAPROXY = replace(TRAEFIK, name="haproxy")
ENVOY = Contract(
    "envoy",
    REDIRECT,
    _sent,
    has_filters=False,
    believes_port=False,
    shows_503=False,
    site=(b"x-forwarded-proto", b"host"),
)
OAUTH2_NGINX = Contract(
    "oauth2 nginx", STATUS, _host_and_scheme, "/oauth2", shows_503=False, site=SCHEME_AND_HOST
)
OAUTH2_TRAEFIK = replace(TRAEFIK, name="oauth2 traefik", prefix="/oauth2")

ENDPOINT = Contract("endpoint", REDIRECT, _address)
OAUTH2_ENDPOINT = {
    "nginx": Contract("oauth2 endpoint", REDIRECT, _host_and_scheme, "/oauth2", site=SCHEME_AND_HOST),
    "traefik": Contract("oauth2 endpoint", REDIRECT, _address, "/oauth2"),
}
OAUTH2_CHECK = {"nginx": OAUTH2_NGINX, "traefik": OAUTH2_TRAEFIK}

ENDPOINTS = ("start", "callback", "sign_out", "userinfo", "refused")


@lru_cache(maxsize=2)
def checks(oauth2: str) -> dict[str, Contract]:
    """Return the contracts by check URL. `oauth2` is IKD_OAUTH2_CONTRACT. For Envoy see `check_url`."""
    ours = (NGINX, INGRESS_NGINX, TRAEFIK, CADDY, HAPROXY, ENVOY)
    table = {f"/authgate/{contract.name}": contract for contract in ours}
    table["/oauth2/auth"] = OAUTH2_CHECK[oauth2]
    return table | {f"{path}/": contract for path, contract in table.items()}


BEFORE_A_PATH = "/authgate/envoy/"


def check_url(path: str, oauth2: str) -> str | None:
    """Return the key of a check URL in `checks`, or None. Envoy's URL is a prefix of any path."""
    if path.startswith(BEFORE_A_PATH):
        return BEFORE_A_PATH
    return path if path in checks(oauth2) else None


@lru_cache(maxsize=2)
def endpoints(oauth2: str) -> dict[str, tuple[str, Contract]]:
    """Return the name and contract of each endpoint by its URL on a protected origin."""
    ours = {f"/authgate/{name}": (name, ENDPOINT) for name in ENDPOINTS}
    theirs = {f"/oauth2/{name}": (name, OAUTH2_ENDPOINT[oauth2]) for name in ENDPOINTS}
    return ours | theirs | {"/oauth2/sign_in": ("sign_in", OAUTH2_ENDPOINT[oauth2])}
