"""Connections for the doctor's requests: to checked addresses, with time and size limits, without redirects.

Administrators enter the origins, and the DNS resolves them. An internal address is used only if
IKD_DOCTOR_NETWORKS allows it. The connection uses the very address that was checked.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field

from django.conf import settings

from authgate.addresses import is_never_allowed, is_public
from authgate.decision.target import client_from, is_within, port_of, without_port

CONNECT_WITHIN = 3.0
"""Seconds to connect to each address."""

ANSWER_WITHIN = 6.0
"""Seconds from the first byte sent to the end of the response's head."""

LARGEST_HEAD = 65_536
"""Bytes of a response's head, at most. Its body is not read."""


class Unreachable(Exception):
    """The place accepts no request. The message is a key of `words`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of a response, both addresses of its connection, and its time of arrival (Unix time)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    own_address: str
    proxy_address: str
    at: float

    def header(self, name: str) -> str:
        """Return the first value of a header, or an empty string."""
        return next((value for each, value in self.headers if each == name), "")


@dataclass(slots=True)
class Place:
    """The server of an origin, with its checked addresses."""

    host: str
    port: int
    encrypted: bool
    addresses: list[str]
    is_certified: bool = True
    """Whether the certificate is valid for the name. If it is not, the requests are sent nevertheless."""

    _works: str = field(default="", repr=False)
    _tls: ssl.SSLContext | None = field(default=None, repr=False)
    """The TLS context of all requests. Creating one for each request would read the system's certificates."""

    def ask(self, request: bytes) -> Reply | None:
        """Send a request. Return the head of the response, or None without one. Raises Unreachable."""
        connection = self._connected()
        try:
            own, proxy = (client_from(end()[0]) for end in (connection.getsockname, connection.getpeername))
            head = _exchange(connection, request)
        finally:
            connection.close()
        return None if head is None else _reply(head, own, proxy)

    def _connected(self) -> socket.socket:
        for address in [self._works] if self._works else self.addresses[:4]:
            try:
                plain = socket.create_connection((address, self.port), timeout=CONNECT_WITHIN)
            except OSError:
                continue
            self._works = address
            # Without this, the request waits until the proxy acknowledges the end of the TLS handshake.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._encrypted(plain) if self.encrypted else plain
        raise Unreachable("refused")

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        context = self._tls = self._tls or ssl.create_default_context()
        try:
            return context.wrap_socket(plain, server_hostname=self.host.strip("[]"))
        except ssl.SSLCertVerificationError:
            plain.close()
            self.is_certified = context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return self._connected()
        except OSError:
            plain.close()
            raise Unreachable("encryption") from None


def place_of_origin(origin: str, at: str = "") -> Place:
    """Return the server of an origin. `at` is an address to use instead of the DNS. Raises Unreachable."""
    host = without_port(origin).partition("://")[2]
    encrypted = origin.startswith("https:")
    port = int(port_of(origin))
    return Place(host, port, encrypted, _allowed(at or host.strip("[]"), port), True)


def place_of_backend(authority: str) -> Place:
    """Return the server of `host:port`, without encryption. Raises Unreachable."""
    host, _, port = authority.rpartition(":")
    return Place(host, int(port), False, _allowed(host.strip("[]"), int(port)), True)


def _allowed(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable("unknown name") from None
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    networks = tuple(settings.IKD_DOCTOR_NETWORKS)
    if any(is_never_allowed(address) for address in addresses):
        raise Unreachable("nobody's address")
    if not all(is_public(address) or is_within(address, networks) for address in addresses):
        raise Unreachable("private address")
    return addresses


def _exchange(connection: socket.socket, request: bytes) -> bytes | None:
    """Send a request and return the head of its response, or None."""
    deadline = time.monotonic() + ANSWER_WITHIN
    head = b""
    try:
        connection.settimeout(ANSWER_WITHIN)
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            connection.sendall(request)  # if this fails, the server may have answered already, so read
        while b"\r\n\r\n" not in head and len(head) < LARGEST_HEAD:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            connection.settimeout(left)
            octets = connection.recv(8192)
            if not octets:
                break
            head += octets
    except OSError:
        return None
    return head.partition(b"\r\n\r\n")[0] if b"\r\n\r\n" in head else None


def _reply(head: bytes, own: str, proxy: str) -> Reply | None:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        return None
    pairs = (line.partition(":")[::2] for line in lines)
    headers = tuple((name.strip().lower(), value.strip()) for name, value in pairs)
    return Reply(int(rest[:3]), headers, own, proxy, time.time())
