"""Requests as bytes, and the answers to them. No library between a test and the wire tidies them up."""

from __future__ import annotations

import http.client
import selectors
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import cache

PATIENCE = 60.0
"""Seconds to wait for an answer, on a machine that runs many servers at once."""

Address = tuple[str, int]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header.lower() == name.lower()]

    def header(self, name: str) -> str:
        """Return the value of a header, or an empty text."""
        return next(iter(self.all(name)), "")


def request_bytes(
    method: str,
    target: str,
    host: str,
    headers: Headers = (),
    body: bytes = b"",
) -> bytes:
    """Return a request as bytes, exactly as given. Texts are Latin-1."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if not any(name.lower() == "connection" for name, _ in pairs):
        pairs.append(("Connection", "close"))
    if body or method in ("POST", "PUT"):
        pairs.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in pairs)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def exchange(
    address: Address, request: bytes, *, tls_name: str | None, timeout: float = PATIENCE
) -> Reply | None:
    """Send bytes, and return the answer. Returns None if the other side closes first. Raises TimeoutError."""
    with closing(connected(address, tls_name, timeout)) as connection:
        with suppress(
            BrokenPipeError, ConnectionResetError, ssl.SSLEOFError
        ):  # the server answered early or closed, so read on
            connection.sendall(request)
        response = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode("latin-1"))
        try:
            response.begin()
            body = b"" if response.status == 101 else _read(response)
        except (http.client.BadStatusLine, ConnectionResetError, ssl.SSLEOFError):
            return None
        return Reply(response.status, response.getheaders(), body)


def conversations(
    address: Address,
    requests: Sequence[bytes],
    *,
    tls_name: str | None,
    first: float = PATIENCE,
    quiet: float = 1.0,
) -> list[bytes]:
    """Send each text on its own connection, all at once, and return what comes back on each.

    Ends when the other side has closed all of them. It also ends after `quiet` seconds of silence once every
    connection had an answer, or after `first` seconds without data.
    """
    heard, unanswered = [b""] * len(requests), set(range(len(requests)))
    with ExitStack() as stack, selectors.DefaultSelector() as unclosed:
        for number, request in enumerate(requests):
            connection = stack.enter_context(closing(connected(address, tls_name)))
            with suppress(OSError):
                connection.sendall(request)
            connection.setblocking(False)
            unclosed.register(connection, selectors.EVENT_READ, (number, connection))
        while unclosed.get_map() and (ready := unclosed.select(first if unanswered else quiet)):
            for number, connection in (key.data for key, _ in ready):
                octets = _whatever_came(connection)
                if octets is None:
                    continue
                heard[number] += octets
                unanswered.discard(number)
                if not octets:
                    unclosed.unregister(connection)
    return heard


def _whatever_came(connection: socket.socket) -> bytes | None:
    """Return what can be read now. It is empty after a close, and None for a partial TLS record."""
    try:
        return connection.recv(65536)
    except ssl.SSLWantReadError:
        return None
    except OSError:
        return b""


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return the body, as much as arrived."""
    try:
        return response.read()
    except http.client.IncompleteRead as cut:
        return cut.partial


def connected(address: Address, tls_name: str | None, timeout: float = PATIENCE) -> socket.socket:
    """Return a connection, with TLS if a name is given. The tests' certificate is valid for no name."""
    plain = plain_connection(address, timeout)
    return plain if tls_name is None else tls_context().wrap_socket(plain, server_hostname=tls_name)


def plain_connection(address: Address, timeout: float) -> socket.socket:
    """Return a TCP connection that sends at once.

    By default, a request waits up to 40 ms for the acknowledgement of the TLS handshake's last record.
    """
    host, port = address
    plain = socket.create_connection((host.strip("[]"), port), timeout=timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


@cache
def tls_context(*protocols: str) -> ssl.SSLContext:
    """Return a context that accepts every certificate, and offers protocols (ALPN)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context
