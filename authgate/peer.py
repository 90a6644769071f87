"""The sender of a request: its raw headers, the peer of the socket, and the client behind the proxies."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from authgate.check.contracts import FORWARDED, HOST_AND_SCHEME, ORIGINAL, forwarded_client
from authgate.decision.target import BadTarget, client_from, is_within
from authgate.network_limits import network_of

SENT_TARGET = "target"
"""The key of the request target in the ASGI scope's state."""

ABORT = "abort"
"""The key of the function that closes the connection at once and drops unsent data."""

TURNED_AWAY = "turned away"
"""The key of the flag that too many requests wait for the provider of this request."""

OVERLOADED = "overloaded"
"""The key of the flag that too many forms wait."""

NEVER_A_LIST = (FORWARDED | HOST_AND_SCHEME | ORIGINAL) - {b"x-forwarded-for"}


def raw_headers(request: HttpRequest) -> list[tuple[bytes, bytes]]:
    """Return a request's headers as sent, with names in lower case. Repeated headers stay repeated.

    Our server passes them on unchanged. Under `runserver` they are rebuilt from META, where repeated headers
    are joined with a comma. Headers that are never lists are split again, so that contracts refuse them.
    """
    scope = request.META.get("asgi.scope")
    if scope is not None:
        return list(scope["headers"])
    headers = []
    for key, text in request.META.items():
        if key.startswith("HTTP_"):
            name = key[5:].replace("_", "-").lower().encode("latin-1")
            value = text.encode("latin-1", "replace")
            parts = value.split(b",") if name in NEVER_A_LIST else [value]
            headers += [(name, part) for part in parts]
    return headers


def peer_from(address: str) -> str:
    """Return the canonical address of a socket's peer. A socket on `[::]` shows IPv4 mapped into IPv6.

    A text that is not an address is returned unchanged, and is never a trusted peer.
    """
    try:
        return client_from(address)
    except BadTarget:
        return address


def peer_address(request: HttpRequest) -> str | None:
    """Return the address of the socket's peer; None for a Unix socket."""
    scope = request.META.get("asgi.scope")
    if scope is not None:
        return peer_from(scope["client"][0]) if scope.get("client") else None
    address = request.META.get("REMOTE_ADDR")
    return peer_from(address) if address else None


def sent_target(request: HttpRequest) -> bytes | None:
    """Return the request target as sent (RFC 9112, section 3.2); None if only its decoded form is known."""
    scope = request.META.get("asgi.scope")
    return None if scope is None else scope["state"].get(SENT_TARGET)


def is_turned_away(request: HttpRequest) -> bool:
    """Return whether a request must not contact a provider, because it has waited too long for its turn."""
    scope = request.META.get("asgi.scope")
    return scope is not None and scope["state"].get(TURNED_AWAY, False)


def is_overloaded(request: HttpRequest) -> bool:
    """Return whether a form must not be processed, because it has waited too long for its turn."""
    scope = request.META.get("asgi.scope")
    return scope is not None and scope["state"].get(OVERLOADED, False)


def is_trusted_peer(peer: str | None) -> bool:
    """Return whether a peer may describe the original request. The file mode protects a Unix socket."""
    return peer is None or is_within(peer, tuple(settings.IKD_TRUSTED_PROXIES))


def client_of(headers: list[tuple[bytes, bytes]], peer: str | None) -> str | None:
    """Return the client's address: from a trusted peer's header, otherwise the peer's own."""
    if not is_trusted_peer(peer):
        return peer
    values = [value for name, value in headers if name == b"x-forwarded-for"]
    try:
        return forwarded_client(b",".join(values), settings.IKD_FORWARDED_HOPS)
    except BadTarget:
        return peer


def client_network(scope: Any) -> str:
    """Return the network of an ASGI scope's client. Requests of one network wait in the same queue."""
    peer = peer_from(scope["client"][0]) if scope.get("client") else None
    return network_of(client_of(scope["headers"], peer) or "")


def client_address(request: HttpRequest) -> str | None:
    """Return the address of a page's client; None if it is unknown."""
    return client_of(raw_headers(request), peer_address(request))
