"""Proxies reuse their connections to the portal, and some of them can use a Unix socket."""

from __future__ import annotations

import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.front.serving import eventually
from tests.own_database import rows_in
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal, start_portal
from tests.proxies.proxy import Proxy
from tests.proxies.registry import STARTERS

pytestmark = pytest.mark.proxy

CHECKS = 40
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
FETCH = {"Sec-Fetch-Mode": "cors"}


class Relay:
    """Passes connections on to the portal, and counts them."""

    def __init__(self, bind: str) -> None:
        host, _, port = bind.partition(":")
        self._portal = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bind = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                server = socket.create_connection(self._portal)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while octets := source.recv(65536):
                sink.sendall(octets)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("name", list(STARTERS))
def test_a_proxy_reuses_its_connections(name: str, portal: Portal, backend: Backend, tmp_path: Path) -> None:
    with closing(Relay(portal.bind)) as relay:
        proxy = STARTERS[name](replace(portal, bind=relay.bind), backend, tmp_path)
        try:
            before = relay.accepted
            if not proxy.keeps_connections:
                pytest.skip(f"{name} connects anew for each check")
            statuses = {proxy.ask("/page", who="alice", headers=FETCH).status for _ in range(CHECKS)}
        finally:
            proxy.server.stop()

    assert statuses == {200}
    assert relay.accepted - before <= 4


@pytest.fixture(scope="module")
def at_a_socket() -> Iterator[Portal]:
    """A portal on a Unix socket, in a folder with a name short enough for the socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="ikd-"))
    portal = start_portal(folder, scheme="https", IKD_BIND=f"unix:{folder}/portal.sock")
    yield portal
    portal.server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.xdist_group("proxies at a socket"))
        for name in ("nginx", "envoy", "haproxy", "caddy")
    ]
)
def over_a_socket(
    request: pytest.FixtureRequest, at_a_socket: Portal, backend: Backend, tmp_path: Path
) -> Iterator[Proxy]:
    proxy = STARTERS[request.param](at_a_socket, backend, tmp_path)
    yield proxy
    proxy.server.stop()


def test_a_unix_socket_behaves_like_tcp(over_a_socket: Proxy) -> None:
    folder = over_a_socket.portal.server.log.parent
    before = newest_refusal(folder)
    assert stat.S_IMODE((folder / "portal.sock").stat().st_mode) == 0o660
    assert over_a_socket.ask("/page", who="alice", headers=FETCH).status == 200
    assert over_a_socket.ask("/page", headers=FETCH).status == 401
    redirected = over_a_socket.ask("/page", headers=NAVIGATION)
    assert redirected.status == 302
    assert redirected.header("Location").startswith(over_a_socket.portal.origin("portal"))

    over_a_socket.ask("/page", site="ops", who="bob", headers=FETCH)
    sign_in = over_a_socket.ask("/accounts/login/", site="portal", headers=NAVIGATION)

    assert sign_in.status == 200
    # The portal's cookies are for https only, so it accepted the scheme that the proxy sent.
    assert all("Secure" in cookie for cookie in sign_in.all("Set-Cookie"))
    assert eventually(lambda: newest_refusal(folder) > before)
    assert refused_addresses(folder, before) == {"127.0.0.1"}


def newest_refusal(folder: Path) -> int:
    """Return the number of the last recorded refusal. Refusals are written a second late."""
    [(newest,)] = rows_in(
        folder, "SELECT coalesce(max(id), 0) FROM authgate_auditevent WHERE kind = 'refused'"
    )
    return int(newest)


def refused_addresses(folder: Path, after: int) -> set[str]:
    """Return the client addresses of the refusals after a number."""
    ask = "SELECT address FROM authgate_auditevent WHERE kind = 'refused' AND id > ?"
    return {address for (address,) in rows_in(folder, ask, after)}
