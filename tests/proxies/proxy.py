"""The interface of every real proxy in the tests."""

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
    """A real proxy in front of a portal and applications. `style` is the form of the portal's answers.

    `has_filters` says whether administrators can add a query to the check in its contract. `patience` is the
    number of seconds after which it answers if the portal does not (0: too long to wait for in a test).

    The last three are ingress-nginx's. Its `auth-signin` redirects each 401 to the portal's start, and its
    403 is nginx's own page. Its check has a variable as address, so nginx opens a new connection each time.
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
        """Send bytes unchanged. The backend forgets earlier requests."""
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
        """Request a page of a site, signed in as `who`. Raises AssertionError without an answer."""
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
        """Follow a redirect to the portal's start, as a browser does."""
        path = start.removeprefix(self.portal.origin(site))
        reply = self.send(
            request_bytes(method, path, self.portal.host(site), pairs), tls_name=self.portal.names[site]
        )
        assert reply is not None, f"{self.name} closed without an answer"
        return reply


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key for the names of the portal and the sites. Few tests verify it."""

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
    """Starts a proxy with a shipped file. Its configuration is written into a folder of the test."""

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
