"""What every real proxy of the tests offers, whatever its kind."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.wire import PATIENCE, Address, Headers, Reply, exchange, request_bytes

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@dataclass
class Proxy:
    """A real proxy in front of a portal and applications; `style` is how it lets the portal answer.

    `has_filters` tells whether its contract leaves the check's own query to the administrator. `patience` are
    the seconds after which it answers for a portal that says nothing (0: not while a test would wait).

    The last three are ingress-nginx's: its `auth-signin` makes a redirect to the portal's start of every 401,
    its 403 is nginx's own page, and it asks with a variable as address, which nginx connects to each time.
    """

    name: str
    style: str
    cuts_cookies: bool
    address: Address
    portal: Portal
    backend: Backend
    server: Server
    has_filters: bool = True
    patience: float = 0
    sends_everybody_to_start: bool = False
    tells_why: bool = True
    keeps_connections: bool = True

    def send(self, request: bytes, *, tls_name: str = "", timeout: float = PATIENCE) -> Reply | None:
        """Send bytes just as they are; the backend forgets what reached it before."""
        self.backend.take()
        name = (tls_name or self.portal.names["portal"]) if self.portal.scheme == "https" else None
        return exchange(self.address, request, tls_name=name, timeout=timeout)

    def ask(
        self,
        path: str = "/",
        *,
        site: str = "app",
        method: str = "GET",
        headers: Headers = (),
        who: str = "",
        body: bytes = b"",
    ) -> Reply:
        """Ask for a page of a site, signed in as `who`. Raises AssertionError where nothing answers."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if who:
            pairs.append(("Cookie", self.portal.cookie(who, site)))
        request = request_bytes(method, path, self.portal.host(site), pairs, body)
        reply = self.send(request, tls_name=self.portal.names[site])
        assert reply is not None, f"{self.name} closed without an answer"
        start = reply.header("Location")
        if self.sends_everybody_to_start and start.startswith(f"{self.portal.origin(site)}/authgate/start"):
            return self._followed(start, site, "GET" if method == "POST" else method, pairs)
        return reply

    def _followed(self, start: str, site: str, method: str, pairs: list[tuple[str, str]]) -> Reply:
        """Follow a redirect to the portal's start as a browser does."""
        path = start.removeprefix(self.portal.origin(site))
        reply = self.send(
            request_bytes(method, path, self.portal.host(site), pairs), tls_name=self.portal.names[site]
        )
        assert reply is not None, f"{self.name} closed without an answer"
        return reply


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, for the names of the portal and the sites. Few tests verify it."""

    certificate: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """Write the certificate of this process's tests into a folder."""
    certificate, key = _certificate_and_key()
    made = Certificate(folder / "tests.pem", folder / "tests.key")
    made.certificate.write_bytes(certificate)
    made.key.write_bytes(key)
    return made


@cache
def _certificate_and_key() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "tests.pem"), Path(folder, "tests.key")
        names = "subjectAltName=DNS:*.example.com,DNS:*.example.org"
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command = [binary("openssl", "openssl"), "req", "-x509", "-subj", "/CN=tests", "-addext", names]
        command += ["-days", "2", *kind, "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        return certificate.read_bytes(), key.read_bytes()


class StartProxy(Protocol):
    """Starts a proxy with a shipped file, its configuration written into a folder of the test's."""

    def __call__(
        self,
        portal: Portal,
        backend: Backend,
        folder: Path,
        *,
        file: str = ...,
        portal_at: str = ...,
        loopback: str = ...,
        shipped: Path = ...,
    ) -> Proxy: ...
