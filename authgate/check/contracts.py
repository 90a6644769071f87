"""What the kinds of proxies promise: which headers of a check say what the original request was.

A contract is chosen by the check's URL, never guessed from the headers that are present, and reads no
other header: what one proxy sets, another passes on as the client sent it.
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
    """What a proxy can pass on: the status alone (200, 401, 403), or redirects too."""

    STATUS = "status"
    REDIRECT = "redirect"


STATUS, REDIRECT = Style

FORWARDED_FOR_LIMIT = 512
"""Bytes of an X-Forwarded-For; nobody honest sits behind so many proxies."""


Read = Callable[[Facts, Query, int], Target]


@dataclass(frozen=True, slots=True)
class Contract:
    """What one kind of proxy sends with a check.

    `read` returns the target from the headers that this kind of proxy vouches for, and from no others.
    `prefix` is the path of its endpoints. `parameters` of the check's own query belong to the contract.
    `has_filters` tells whether that query is the administrator's at all, `believes_port` whether the proxy
    vouches for the port of the origin, `reads_forwarded_uri` whether X-Forwarded-Uri is the only thing in a
    check that says the path. `site` are the headers of the scheme and the host. `shows_503` tells whether
    browsers see a page with that status: the proxy passes it on, or asks for the page of a refusal.
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
        """Return a check's own query, parsed; an empty one if it is the browser's."""
        return query_from(text, self.parameters) if self.has_filters else NO_QUERY


@lru_cache(maxsize=16_384)
def forwarded_client(value: bytes, hops: int) -> str:
    """Return the client's address in X-Forwarded-For: the last entry, or as many before it as `hops` says.

    Clients write the entries further left. An empty entry counts too: if it were skipped, a proxy without
    an address for its peer would vouch for the client's own entry. Raises BadTarget if the entry names no
    address, or the list is longer than FORWARDED_FOR_LIMIT: results are cached, which must not fill memory.
    """
    entries = value.decode("latin-1").split(",")
    if not 0 <= hops < len(entries) or len(value) > FORWARDED_FOR_LIMIT:
        raise BadTarget("x-forwarded-for")
    return _address_from(entries[-1 - hops].strip(" \t"), "x-forwarded-for")


def _address_from(text: str, header: str) -> str:
    """Return the address that a header names. Raises BadTarget with the header's name."""
    try:
        return client_from(text)
    except BadTarget:
        raise BadTarget(header) from None


@lru_cache(maxsize=8192)
def _origin(scheme: bytes, authority: bytes) -> str:
    return origin_from(scheme.decode("latin-1"), authority.decode("latin-1"))


_METHODS = {method.encode(): method for method in USUAL_METHODS}


def _forwarded(facts: Facts, query: Query, hops: int) -> Target:
    """Read X-Forwarded-{Method,Proto,Host,Uri,For}, which these proxies set whatever the client sent."""
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
        headers.require(FORWARDED)  # says which is missing, where it is that
        raise


def _refuse_rewritten(values: dict[bytes, bytes]) -> NoReturn:
    """Raise BadTarget with the header by which Traefik's middlewares say that they have changed the path.

    Then X-Forwarded-Uri is the rest of it, which other rules may cover. A client that sends one of these
    itself, through a proxy that passes it on, is refused.
    """
    name = next(name for name in REWRITTEN if name in values)
    raise BadTarget(f"{name.decode()}: the path was rewritten before the check")


def _forwarded_raw_host(facts: Facts, query: Query, hops: int) -> Target:
    """Read X-Forwarded-* where the host is as the client wrote it, with a port of its own choice.

    `port` in the check's own query says which it is.
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
    """Read where an endpoint's request came in; the page asked for is in `x-forwarded-uri`, if anywhere."""
    values = facts.headers.require(ADDRESS)
    origin = _origin(values[b"x-forwarded-proto"], values[b"x-forwarded-host"])
    return Target(origin, None, None, forwarded_client(values[b"x-forwarded-for"], hops))


def _sent(facts: Facts, query: Query, hops: int) -> Target:
    """Read the check's own Host, method and path: Envoy's ext_authz over HTTP puts a prefix before the path.

    x-forwarded-proto is Envoy's own, and the last entry of x-forwarded-for. Everything else that the
    client may have sent arrives too, if the configuration passes it on, and says nothing here.
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
    """Read X-Original-URL, X-Original-Method and X-Real-IP, as ingress-nginx sends them.

    The URL's host is `$http_host`, which the client writes and which in an absolute-form request is not
    the one that is served. `host` in the check's own query is: without the port unless it is written there.
    ingress-nginx takes X-Forwarded-Proto out of its checks. Traefik, whose provider for the same annotations
    passes X-Original-URL on as a client sent it, puts it into each: there the client would choose its path.
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
    """Return the origin that a check names which cannot be read as a whole, or an empty text.

    It tells an administrator where the mistake is, and decides nothing. Without a scheme it is https.
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
    """Return the contract of each check URL; `oauth2` is IKD_OAUTH2_CONTRACT. `check_url` has Envoy's."""
    ours = (NGINX, INGRESS_NGINX, TRAEFIK, CADDY, HAPROXY, ENVOY)
    table = {f"/authgate/{contract.name}": contract for contract in ours}
    table["/oauth2/auth"] = OAUTH2_CHECK[oauth2]
    return table | {f"{path}/": contract for path, contract in table.items()}


BEFORE_A_PATH = "/authgate/envoy/"


def check_url(path: str, oauth2: str) -> str | None:
    """Return the key of a check URL in `checks`, or None. Any path can follow the URL for Envoy."""
    if path.startswith(BEFORE_A_PATH):
        return BEFORE_A_PATH
    return path if path in checks(oauth2) else None


@lru_cache(maxsize=2)
def endpoints(oauth2: str) -> dict[str, tuple[str, Contract]]:
    """Return the name and contract of each endpoint's URL on a protected origin."""
    ours = {f"/authgate/{name}": (name, ENDPOINT) for name in ENDPOINTS}
    theirs = {f"/oauth2/{name}": (name, OAUTH2_ENDPOINT[oauth2]) for name in ENDPOINTS}
    return ours | theirs | {"/oauth2/sign_in": ("sign_in", OAUTH2_ENDPOINT[oauth2])}
