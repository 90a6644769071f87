"""HTTP requests to providers, limited in target, time and size.

An administrator enters the URL of a provider, and the provider's documents contain more URLs. None may make
the portal send requests to services inside the network (SSRF). So the portal checks every address of a host,
and connects to a checked address. An attacker who changes the host's address a moment later gains nothing
(DNS rebinding).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.provider_threads import seconds_left, waiting
from authgate import counters
from authgate.addresses import is_never_allowed, is_public
from authgate.traces import spans

CONNECT_WITHIN = 3.0
"""Seconds for the connection to each address."""

ANSWER_WITHIN = 6.0
"""Seconds from the first connection to the last byte, however slowly a server sends."""

LARGEST = 256 * 1024
"""Bytes of a response."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error_page(self) -> ErrorPage:
        """Return the error page for an unexpected status."""
        return ErrorPage.UNAVAILABLE if self.status >= 500 else ErrorPage.BROKEN

    def json(self) -> dict[str, Any]:
        """Return the JSON object. Raises ProviderError for any other body."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            raise ProviderError("the provider answered something that is no JSON") from None
        if not isinstance(found, dict):
            raise ProviderError("the provider answered JSON that is no object")
        return found


def fetch(
    url: str,
    *,
    allow_private: bool,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a request, and return the response with any status. Do not follow redirects.

    Raises ProviderError if there is no complete response in time.
    """
    parts, host, port = _split(url)
    began, result = time.monotonic(), "failed"
    try:
        with spans.span(f"{method} {host}", {"http.request.method": method, "server.address": host}) as added:
            answer = _fetch_in_time(parts, host, port, allow_private, method, body, headers or {})
            added["http.response.status_code"] = answer.status
        result = f"{answer.status // 100}xx"
        return answer
    finally:
        counters.provider_calls.add(host, result)
        counters.provider_seconds.observe(time.monotonic() - began)


def _fetch_in_time(
    parts: SplitResult,
    host: str,
    port: int,
    allow_private: bool,
    method: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> Answer:
    seconds = seconds_left(ANSWER_WITHIN)
    if seconds <= 0:
        raise ProviderError("the provider did not answer in time", ErrorPage.UNAVAILABLE)
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    sent = {
        "Accept-Encoding": "identity",
        "User-Agent": "ikd-portal",
        "Connection": "close",
        **headers,
    }
    try:
        with waiting(), _ended_after(seconds) as deadline:
            encrypted = parts.scheme == "https"
            addresses = allowed_addresses(host, port, allow_private=allow_private, encrypted=encrypted)
            sock = _connect(addresses, port, deadline)
            if encrypted:
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            return _exchange(sock, parts.netloc.rpartition("@")[2], method, path, body, sent)
    except ssl.SSLCertVerificationError:
        raise ProviderError(
            "the provider's certificate is not valid for its name", ErrorPage.UNAVAILABLE
        ) from None
    except TimeoutError:
        raise ProviderError("the provider did not answer in time", ErrorPage.UNAVAILABLE) from None
    except (OSError, http.client.HTTPException, ValueError):
        raise ProviderError("the provider cannot be reached", ErrorPage.UNAVAILABLE) from None


def _split(url: str) -> tuple[SplitResult, str, int]:
    """Return the parts of a URL, its host and its port. Raises ProviderError if it is not usable."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable():
        raise ProviderError("an address of the provider cannot be read")
    return parts, host, port


def allowed_addresses(host: str, port: int, *, allow_private: bool, encrypted: bool) -> list[str]:
    """Return the addresses of a host. Raises ProviderError if any of them is not allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProviderError("the provider's name is not known to the DNS", ErrorPage.UNAVAILABLE) from None
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    public = [is_public(address) for address in addresses]
    if not allow_private and not all(public):
        raise ProviderError(
            "the provider's name leads inside the network: allow that for it (--allow-private)"
        )
    if any(is_never_allowed(address) for address in addresses):
        raise ProviderError("the provider's name leads to an address that is nobody's service")
    if not encrypted and (not allow_private or any(public)):
        raise ProviderError(
            "an address of the provider is not encrypted: http:// is for the inner network only"
        )
    return addresses


class _Deadline:
    """Closes a connection when its time is over. Read timeouts alone do not limit a slow response."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.passed = False
        self._guarded: socket.socket | None = None
        self._lock = threading.Lock()

    def guard(self, sock: socket.socket) -> None:
        # Guard a duplicate: if another thread shuts down a TLS socket, its reader continues unencrypted.
        with self._lock:
            self._guarded = socket.socket(fileno=os.dup(sock.fileno()))

    def cut(self) -> None:
        with self._lock:
            self.passed = True
            if self._guarded is not None:
                with suppress(OSError):
                    self._guarded.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        with self._lock:
            if self._guarded is not None:
                self._guarded.close()
                self._guarded = None


@contextmanager
def _ended_after(seconds: float) -> Iterator[_Deadline]:
    """Raise TimeoutError if the block took longer, in place of any other error."""
    deadline = _Deadline(seconds)
    timer = threading.Timer(seconds, deadline.cut)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    except (OSError, http.client.HTTPException, ValueError):
        if deadline.passed:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        deadline.release()
    if deadline.passed:
        raise TimeoutError


def _connect(addresses: list[str], port: int, deadline: _Deadline) -> socket.socket:
    last: OSError = OSError("no address")
    for address in addresses[:4]:
        left = deadline.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            sock = socket.create_connection((address, port), timeout=min(CONNECT_WITHIN, left))
        except OSError as error:
            last = error
            continue
        sock.settimeout(ANSWER_WITHIN)
        deadline.guard(sock)
        return sock
    raise last


def _exchange(
    sock: socket.socket, host: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> Answer:
    connection = http.client.HTTPConnection(host)
    connection.sock = sock
    try:
        connection.request(method, path, body=body, headers={"Host": host, **headers})
        response = connection.getresponse()
        content = response.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ProviderError("the provider's answer is larger than any honest one")
        if response.length:
            raise http.client.IncompleteRead(content)
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise ProviderError("the provider's answer is packed, which was not asked for")
        return Answer(response.status, {name.lower(): text for name, text in response.getheaders()}, content)
    finally:
        connection.close()
