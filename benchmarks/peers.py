"""Checks of other systems whose programs are on PATH, each with a real session of its own kind.

None of them contacts another machine: URLs of providers lead nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from urllib.parse import urlencode

from argon2 import PasswordHasher

from benchmarks import requests, servers
from benchmarks.load import Unexpected, prepare, status_of
from benchmarks.plan import Case, Run
from benchmarks.servers import Server

NAMES = ("traefik-forward-auth", "oauth2-proxy", "authelia")
SECRET = "only-for-benchmarks-0123456789ab"
EMAIL, USER, PASSWORD = "user@example.com", "user", "password"
NOWHERE = "http://127.0.0.1:9/"
ONE_CORE = {"GOMAXPROCS": "1"}


def cases(run: Run, stack: ExitStack) -> list[Case]:
    """Start the installed peers. Return a case for each, with the same load but its own session."""
    begin = (_traefik_forward_auth, _oauth2_proxy, _authelia)
    there = [name for name in NAMES if servers.program(name)]
    for name in there:
        run.say(f"starting {name}")
    return [start(run, stack) for name, start in zip(NAMES, begin, strict=True) if name in there]


def _start(run: Run, stack: ExitStack, name: str, port: int, options: Iterable[str]) -> Server:
    command = [servers.program(name) or "", *options]
    return stack.enter_context(servers.running(name, command, port, run.folder / f"{name}.log", ONE_CORE))


def _checks(url: str, cookie: str) -> list[bytes]:
    """Return the checks that the portal gets, with another address and cookie."""
    mark = "token-goes-here"
    return [
        check.replace(f"__Host-ikd_gate={mark}".encode(), cookie.encode())
        for check in requests.checks([mark], url=url)
    ]


def _case(run: Run, server: Server, url: str, cookie: str, status: int = 200) -> Case:
    """Return a peer's case. Raises Unexpected if it also allows requests without the cookie."""
    nobody = _checks(url, "nobody=here")[0]
    if status_of(server, nobody) < 300:
        raise Unexpected(f"{server.name} lets in who is not signed in: its check is none")
    return Case(server.name, server, prepare(run.folder, server.name, _checks(url, cookie), status))


def _sign_in(server: Server, url: str, kind: str, body: str, headers: dict[str, str] | None = None) -> str:
    """Send what the peer's own sign-in page sends. Return the cookie from the answer."""
    connection = http.client.HTTPConnection(*server.address, timeout=30)
    connection.request("POST", url, body, {"Content-Type": kind, **(headers or {})})
    response = connection.getresponse()
    cookie = (response.getheader("Set-Cookie") or "").partition(";")[0]
    response.read()
    connection.close()
    if not cookie:
        raise Unexpected(f"{server.name} signed nobody in: {response.status}")
    return cookie


def _traefik_forward_auth(run: Run, stack: ExitStack) -> Case:
    """Start it. Its session is a cookie: an HMAC over domain, address and expiry."""
    port = servers.free_port()
    options = [f"--port={port}", f"--secret={SECRET}", "--insecure-cookie"]
    options += ["--providers.google.client-id=none", "--providers.google.client-secret=none"]
    server = _start(run, stack, NAMES[0], port, options)
    expires = str(int(time.time()) + 43_200)
    signed = hmac.digest(SECRET.encode(), f"app.example.com{EMAIL}{expires}".encode(), hashlib.sha256)
    cookie = f"_forward_auth={base64.urlsafe_b64encode(signed).decode()}|{expires}|{EMAIL}"
    return _case(run, server, "/", cookie)


def _oauth2_proxy(run: Run, stack: ExitStack) -> Case:
    """Start it. Its session is in the cookie that it sets when a user of its password file signs in."""
    port = servers.free_port()
    passwords = run.folder / "htpasswd"
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).digest()).decode()
    passwords.write_text(f"{USER}:{{SHA}}{digest}\n")
    options = {
        "http-address": f"127.0.0.1:{port}",
        "reverse-proxy": "true",
        "trusted-proxy-ip": "127.0.0.1",
        "upstream": "static://202",
        "cookie-secret": SECRET,
        "cookie-secure": "false",
        "htpasswd-file": str(passwords),
        "email-domain": "*",
        "set-xauthrequest": "true",
        "provider": "github",
        "client-id": "none",
        "client-secret": "none",
        "login-url": NOWHERE,
        "redeem-url": NOWHERE,
        "validate-url": NOWHERE,
        "request-logging": "false",
        "auth-logging": "false",
        "standard-logging": "false",
    }
    server = _start(run, stack, NAMES[1], port, [f"--{name}={value}" for name, value in options.items()])
    form = urlencode({"username": USER, "password": PASSWORD})
    cookie = _sign_in(server, "/oauth2/sign_in", "application/x-www-form-urlencoded", form)
    return _case(run, server, "/oauth2/auth", cookie, 202)


def _authelia(run: Run, stack: ExitStack) -> Case:
    """Start it. Its session is in its memory, created by its sign-in API for a user of its file."""
    port, folder = servers.free_port(), run.folder / "authelia"
    folder.mkdir()
    person = {"displayname": "A Person", "email": EMAIL, "groups": ["staff"]}
    users = {"users": {USER: person | {"password": PasswordHasher().hash(PASSWORD)}}}
    (folder / "users.yml").write_text(json.dumps(users))
    configuration = {
        "server": {"address": f"tcp://127.0.0.1:{port}"},
        "log": {"level": "warn"},
        "ntp": {"address": "udp://127.0.0.1:9", "disable_startup_check": True},
        "authentication_backend": {"file": {"path": str(folder / "users.yml")}},
        "access_control": {
            "default_policy": "deny",
            "rules": [{"domain": "app.example.com", "policy": "one_factor"}],
        },
        "session": {
            "secret": SECRET,
            "cookies": [
                {
                    "domain": "example.com",
                    "authelia_url": "https://sso.example.com",
                    "expiration": "12 hours",
                    "inactivity": "4 hours",
                }
            ],
        },
        "storage": {"encryption_key": SECRET, "local": {"path": str(folder / "db.sqlite3")}},
        "notifier": {"filesystem": {"filename": str(folder / "mail.txt")}},
        "identity_validation": {"reset_password": {"jwt_secret": SECRET}},
    }
    (folder / "configuration.yml").write_text(json.dumps(configuration))
    server = _start(run, stack, NAMES[2], port, [f"--config={folder / 'configuration.yml'}"])
    page = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "sso.example.com"}
    form = json.dumps({"username": USER, "password": PASSWORD})
    cookie = _sign_in(server, "/api/firstfactor", "application/json", form, page)
    return _case(run, server, "/api/authz/forward-auth", cookie)
