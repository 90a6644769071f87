"""Requests as bytes, and the answers to them: nothing between a test and the wire that would tidy up."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

PATIENCE = 60.0
"""Seconds for an answer, on a machine that runs many servers at once."""

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
    """Return a request as bytes, exactly as given; texts are Latin-1."""
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
    """Send bytes and give the answer; None where the other side closed without one. Raises TimeoutError."""
    with closing(connected(address, tls_name, timeout)) as connection:
        with suppress(
            BrokenPipeError, ConnectionResetError, ssl.SSLEOFError
        ):  # it answered early, or closed: read on
            connection.sendall(request)
        response = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode("latin-1"))
        try:
            response.begin()
            body = b"" if response.status == 101 else _read(response)
        except (http.client.BadStatusLine, ConnectionResetError, ssl.SSLEOFError):
            return None
        return Reply(response.status, response.getheaders(), body)


def conversation(address: Address, request: bytes, *, tls_name: str | None, patience: float = 0.5) -> bytes:
    """Send bytes and give all that comes back, until the other side closes, or is silent for `patience` s."""
    heard = b""
    with closing(connected(address, tls_name, patience)) as connection, suppress(OSError):
        connection.sendall(request)
        while octets := connection.recv(65536):
            heard += octets
    return heard


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return the body, as much as arrived."""
    try:
        return response.read()
    except http.client.IncompleteRead as cut:
        return cut.partial


def connected(address: Address, tls_name: str | None, timeout: float = PATIENCE) -> socket.socket:
    """Return a connection, with TLS if a name is given (the tests' certificate is for no name)."""
    host, port = address
    plain = socket.create_connection((host.strip("[]"), port), timeout=timeout)
    if tls_name is None:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=tls_name)
