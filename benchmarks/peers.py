"""Other systems' checks, where their programs are on PATH, each with a real session of its own kind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import time
from collections.abc import Iterable
from contextlib import ExitStack
from urllib.parse import urlencode

from benchmarks import requests, servers
from benchmarks.load import prepare
from benchmarks.plan import Case, Run
from benchmarks.servers import Server

NAMES = ("traefik-forward-auth", "oauth2-proxy")
SECRET = "only-for-benchmarks-0123456789ab"
EMAIL = "user@example.com"
ONE_CORE = {"GOMAXPROCS": "1"}


def cases(run: Run, stack: ExitStack) -> list[Case]:
    """Start the peers that are there, and give the same load with their own sessions."""
    found = []
    for name, begin in zip(NAMES, (_traefik_forward_auth, _oauth2_proxy), strict=True):
        if servers.program(name):
            found.append(begin(run, stack))
    return found


def _start(run: Run, stack: ExitStack, name: str, port: int, options: Iterable[str]) -> Server:
    command = [servers.program(name) or "", *options]
    return stack.enter_context(servers.running(name, command, port, run.folder / f"{name}.log", ONE_CORE))


def _checks(url: str, cookie: str) -> list[bytes]:
    """Give the very checks that the portal gets, with another address and cookie."""
    mark = "token-goes-here"
    return [
        check.replace(f"__Host-ikd_gate={mark}".encode(), cookie.encode())
        for check in requests.checks([mark], url=url)
    ]


def _traefik_forward_auth(run: Run, stack: ExitStack) -> Case:
    """Its session is a cookie: an HMAC over domain, address and expiry."""
    port = servers.free_port()
    options = [f"--port={port}", f"--secret={SECRET}", "--insecure-cookie"]
    options += ["--providers.google.client-id=none", "--providers.google.client-secret=none"]
    server = _start(run, stack, NAMES[0], port, options)
    expires = str(int(time.time()) + 43_200)
    signed = hmac.digest(SECRET.encode(), f"app.example.com{EMAIL}{expires}".encode(), hashlib.sha256)
    cookie = f"_forward_auth={base64.urlsafe_b64encode(signed).decode()}|{expires}|{EMAIL}"
    return Case(NAMES[0], server, prepare(run.folder, NAMES[0], _checks("/", cookie)))


def _oauth2_proxy(run: Run, stack: ExitStack) -> Case:
    """Its session is the one that it makes when a user of its password file signs in."""
    port = servers.free_port()
    passwords = run.folder / "htpasswd"
    digest = base64.b64encode(hashlib.sha1(b"password", usedforsecurity=False).digest()).decode()
    passwords.write_text(f"user:{{SHA}}{digest}\n")
    options = [f"--http-address=127.0.0.1:{port}", f"--cookie-secret={SECRET}", "--cookie-secure=false"]
    options += [
        f"--htpasswd-file={passwords}",
        "--client-id=none",
        "--client-secret=none",
        "--email-domain=*",
    ]
    options += [
        "--provider=github",
        "--reverse-proxy=true",
        "--set-xauthrequest=true",
        "--upstream=static://202",
    ]
    options += ["--request-logging=false", "--auth-logging=false", "--standard-logging=false"]
    server = _start(run, stack, NAMES[1], port, options)
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request(
        "POST", "/oauth2/sign_in", urlencode({"username": "user", "password": "password"}), form
    )
    cookie = (connection.getresponse().getheader("Set-Cookie") or "").partition(";")[0]
    connection.close()
    return Case(NAMES[1], server, prepare(run.folder, NAMES[1], _checks("/oauth2/auth", cookie), 202))
