"""Keycloak for comparison: in production mode, with its database in memory, a realm, users and a client."""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from benchmarks import servers
from benchmarks.load import Unexpected
from benchmarks.servers import Server

VERSION = "26.0.8"
FORM = "application/x-www-form-urlencoded"
REALM, PASSWORD, SECRET = "bench", "correct horse battery", "only-for-benchmarks"
STARTS_WITHIN = 300.0
"""Seconds. The first start compiles."""

_ACTION = re.compile(r'<form id="kc-form-login"[^>]* action="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider and how to call it. `client_id` returns the client for a browser's number.

    `cookies` signs in the user with a number. `code` returns the code for an authorization request that needs
    more than one request.
    """

    server: Server
    client_id: Callable[[int], str]
    secret: str
    authorize: str
    token: str
    headers: dict[str, str]
    cookies: Callable[[int], str]
    code: Callable[[str], str] | None = None


def _archive() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return caches / "ikd-tests" / f"keycloak-{VERSION}.zip"


def is_installed() -> bool:
    """Return whether the tests have fetched Keycloak and Java is installed."""
    return _archive().exists() and servers.program("java") is not None


@contextmanager
def keycloak(folder: Path, callback: str, people: int) -> Iterator[Provider]:
    """Run Keycloak on the server's core. It replaces refresh tokens at each use, as the portal does."""
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    shutil.unpack_archive(_archive(), folder)  # a separate copy, because `start` builds it for this database
    script = folder / f"keycloak-{VERSION}" / "bin" / "kc.sh"
    command = ["sh", str(script), "start", "--http-enabled=true", f"--http-port={port}", "--db=dev-mem"]
    command += ["--http-host=127.0.0.1", "--cache=local", f"--hostname={url}"]
    administrator = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD}
    with servers.running(
        "keycloak", command, port, folder / "keycloak.log", administrator, within=STARTS_WITHIN
    ) as server:
        _fill(server, callback, people)
        realm = f"/realms/{REALM}/protocol/openid-connect"
        yield Provider(
            server,
            lambda number: "wiki",
            SECRET,
            f"{realm}/auth",
            f"{realm}/token",
            {},
            lambda number: _signed_in(server, f"{realm}/auth", callback, number),
        )


def _ask(server: Server, method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
    connection = http.client.HTTPConnection(*server.address, timeout=120)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    received = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, received


def _fill(server: Server, callback: str, people: int) -> None:
    status, body = 0, ""
    until = time.monotonic() + STARTS_WITHIN
    form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": PASSWORD}
    while status != 200 and time.monotonic() < until:  # it listens before it has an administrator
        path = "/realms/master/protocol/openid-connect/token"
        status, _, body = _ask(server, "POST", path, urlencode(form), {"Content-Type": FORM})
        time.sleep(0.2)
    credentials = [{"type": "password", "value": PASSWORD}]
    person = {"enabled": True, "emailVerified": True, "firstName": "A", "lastName": "Person"}
    realm = {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "none",
        "revokeRefreshToken": True,
        "clients": [{"clientId": "wiki", "secret": SECRET, "redirectUris": [callback]}],
        "users": [
            person | {"username": _name(n), "email": f"{_name(n)}@example.com", "credentials": credentials}
            for n in range(people)
        ],
    }
    headers = {"Authorization": f"Bearer {json.loads(body)['access_token']}"}
    headers |= {"Content-Type": "application/json"}
    status, _, body = _ask(server, "POST", "/admin/realms", json.dumps(realm), headers)
    if status != 201:
        raise Unexpected(f"Keycloak took no realm: {status} {body[:500]}")


def _name(number: int) -> str:
    return f"person-{number}"


def _signed_in(server: Server, page: str, callback: str, number: int) -> str:
    """Sign a user in by the form, and return the browser's cookies."""
    asked = {"client_id": "wiki", "redirect_uri": callback, "response_type": "code", "scope": "openid"}
    _, headers, text = _ask(server, "GET", f"{page}?{urlencode(asked)}", None, {"Accept": "text/html"})
    action = _ACTION.search(text)
    if action is None:
        raise Unexpected("Keycloak shows no form")
    cookies = _cookies(headers)
    parts = urlsplit(html.unescape(action[1]))
    form = urlencode({"username": _name(number), "password": PASSWORD})
    sent = {"Content-Type": FORM, "Cookie": _line(cookies)}
    status, headers, _ = _ask(server, "POST", f"{parts.path}?{parts.query}", form, sent)
    if status != 302:
        raise Unexpected(f"Keycloak signed nobody in: {status}")
    return _line(cookies | _cookies(headers))


def _cookies(headers: Any) -> dict[str, str]:
    lines = headers.get_all("Set-Cookie") or []
    pairs = (line.partition(";")[0].partition("=") for line in lines)
    return {name: value for name, _, value in pairs if value}


def _line(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())
