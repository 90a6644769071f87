"""Dex for comparison: a provider in Go, with PostgreSQL. It is measured if `dex` is on PATH.

Dex asks a connector at each sign-in. Its `mockCallback` connector answers at once, so only Dex itself is
measured. The connector returns one user, so each browser has its own client and connector.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks import databases, servers
from benchmarks.load import Unexpected
from benchmarks.openid_peer import SECRET, Provider

REDIRECTS = 5
"""Redirects at most. Dex needs four answers for a code."""


def is_installed() -> bool:
    """Return whether Dex and PostgreSQL are installed."""
    return all(servers.program(name) for name in ("dex", "initdb", "postgres"))


@contextmanager
def dex(folder: Path, callback: str, browsers: int) -> Iterator[Provider]:
    """Run Dex with its defaults on the server's core. Its PostgreSQL's CPU time is not included.

    Each refresh needs two connections to the database. With SQLite, or with the default of five connections,
    Dex hangs as soon as several clients refresh at once.
    """
    port = servers.free_port()
    with databases.started("postgresql", folder) as make:
        database = urlsplit(servers.environment(make(folder / "dex", None))["DATABASE_URL"])
        storage = {
            "host": database.hostname,
            "port": database.port,
            "user": database.username,
            "password": database.password or "",
            "database": database.path.removeprefix("/"),
            "ssl": {"mode": "disable"},
            "maxOpenConns": 50,
        }
        configuration = {
            "issuer": f"http://127.0.0.1:{port}",
            "storage": {"type": "postgres", "config": storage},
            "web": {"http": f"127.0.0.1:{port}"},
            "logger": {"level": "error"},
            "oauth2": {"skipApprovalScreen": True},
            "connectors": [
                {"type": "mockCallback", "id": _client(number), "name": "Mock"} for number in range(browsers)
            ],
            "staticClients": [
                {"id": _client(number), "secret": SECRET, "name": "Wiki", "redirectURIs": [callback]}
                for number in range(browsers)
            ],
        }
        path = folder / "dex.json"  # JSON is valid YAML
        path.write_text(json.dumps(configuration))
        command = [servers.program("dex") or "", "serve", str(path)]
        with servers.running("dex", command, port, folder / "dex.log", {}) as server:
            code = Browser(port, callback).code
            yield Provider(server, _client, SECRET, "/auth", "/token", {}, lambda number: "", code)


def _client(number: int) -> str:
    return f"wiki-{number}"


class Browser:
    """Follows Dex's redirects. Each thread keeps its own connection."""

    def __init__(self, port: int, callback: str) -> None:
        self._port, self._callback = port, callback
        self._kept = threading.local()

    def code(self, path: str) -> str:
        """Return the code at the end of an authorization request. Raises Unexpected."""
        connector = parse_qs(urlsplit(path).query)["client_id"][0]
        url = path.replace("scope=openid", f"connector_id={connector}&scope=openid+offline_access")
        for _ in range(REDIRECTS):
            url = self._next(url)
            if url.startswith(self._callback):
                return parse_qs(urlsplit(url).query)["code"][0]
        raise Unexpected(f"Dex gave no code: {url[:300]}")

    def _next(self, url: str) -> str:
        parts = urlsplit(url)
        self._kept.connection = connection = getattr(
            self._kept, "connection", None
        ) or http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        body = answer.read()
        location = answer.headers.get("Location", "")
        if not location:
            raise Unexpected(f"Dex does not go on: {answer.status} {body[:300]!r}")
        return location
