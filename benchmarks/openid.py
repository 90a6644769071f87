"""Measures the cost of sign-ins at clients: `python -m benchmarks.openid`. Results: var/bench-openid.json.

The same clients request codes from the portal, Keycloak and Dex, exchange them, and refresh. Each client has
the sign-in of another user. Keycloak is measured if the tests have fetched it, and Dex if it is on PATH.
QUICK=1 takes about a minute. With DATABASE=postgresql the portal uses PostgreSQL, whose CPU time is not
included.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmarks import databases, machine, openid_dex, openid_peer, report, servers
from benchmarks.load import Unexpected
from benchmarks.openid_peer import FORM, Provider
from benchmarks.sign_in import browser_signed_in

CLIENTS = 8
CALLBACK = "https://wiki.example.com/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
MANY_CODES = 150
"""Codes for one sign-in at most. The portal allows 200 an hour."""


@dataclass(frozen=True, slots=True)
class Size:
    """Calls of each kind that each client makes, and uncounted calls before them."""

    calls: int
    before: int


WHOLE, SMALL = Size(120, 30), Size(20, 5)


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_ms: float
    per_second: float
    p50_ms: float


@dataclass
class Client:
    """A client and its user's browser, on one connection. `waits` are the seconds of each call."""

    provider: Provider
    number: int
    cookies: str = ""
    codes: list[str] = field(default_factory=list)
    refresh_token: str = ""
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cookies = self.provider.cookies(self.number)
        self.connection = http.client.HTTPConnection(*self.provider.server.address, timeout=60)

    def ask(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        """Return status, Location and body of an answer."""
        began = time.perf_counter()
        self.connection.request(method, path, body, self.provider.headers | headers)
        answer = self.connection.getresponse()
        received = answer.read()
        self.waits.append(time.perf_counter() - began)
        return answer.status, answer.headers.get("Location", ""), received

    def authorize(self) -> None:
        """Get a code for the signed-in user. Raises Unexpected."""
        asked = {
            "client_id": self.provider.client_id(self.number),
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid profile email",
            "state": "s" * 8,
            "nonce": "n" * 8,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        path = f"{self.provider.authorize}?{urlencode(asked)}"
        if self.provider.code is not None:
            began = time.perf_counter()
            self.codes.append(self.provider.code(path))
            self.waits.append(time.perf_counter() - began)
            return
        status, location, _ = self.ask("GET", path, None, {"Cookie": self.cookies, "Accept": "text/html"})
        found = parse_qs(urlsplit(location).query).get("code")
        if not found:
            raise Unexpected(f"{self.provider.server.name} gave no code: {status} {location[:200]}")
        self.codes.append(found[0])

    def exchange(self) -> None:
        code = self.codes.pop(0)
        form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        self._token(form | {"code": code})

    def refresh(self) -> None:
        self._token({"grant_type": "refresh_token", "refresh_token": self.refresh_token})

    def _token(self, form: dict[str, str]) -> None:
        pair = f"{self.provider.client_id(self.number)}:{self.provider.secret}".encode()
        headers = {"Content-Type": FORM, "Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        status, _, body = self.ask("POST", self.provider.token, urlencode(form), headers)
        tokens = json.loads(body)
        if status != 200 or "id_token" not in tokens:
            raise Unexpected(f"{self.provider.server.name} gave no tokens: {status} {tokens}")
        self.refresh_token = tokens["refresh_token"]


STEPS: dict[str, Callable[[Client], None]] = {
    "authorize": Client.authorize,
    "exchange": Client.exchange,
    "refresh": Client.refresh,
}


def measure(provider: Provider, size: Size) -> dict[str, Cost]:
    """Return the cost of each kind of call at a provider. Raises Unexpected."""
    if size.calls + size.before > MANY_CODES:
        raise ValueError("so many codes are more than one sign-in gets")
    clients = [Client(provider, number) for number in range(CLIENTS)]
    for step in STEPS.values():
        _all(clients, step, size.before)
    costs = {name: _cost(provider, clients, step, size.calls) for name, step in STEPS.items()}
    for client in clients:
        client.connection.close()
    return costs


def _cost(provider: Provider, clients: list[Client], step: Callable[[Client], None], calls: int) -> Cost:
    for client in clients:
        client.waits.clear()
    pids = machine.family(provider.server.pid)
    spent, began = machine.cpu_seconds(pids), time.perf_counter()
    _all(clients, step, calls)
    seconds, spent = time.perf_counter() - began, machine.cpu_seconds(pids) - spent
    waits = sorted(wait for client in clients for wait in client.waits)
    count = len(waits)
    return Cost(1000 * spent / count, count / seconds, 1000 * waits[count // 2])


def _all(clients: list[Client], step: Callable[[Client], None], calls: int) -> None:
    """Make every client take a step `calls` times, all clients at once."""

    def work(client: Client) -> None:
        for _ in range(calls):
            step(client)

    with machine.on_core(machine.LOAD_CORE), ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, clients))


@contextmanager
def portal(folder: Path, kind: str) -> Iterator[Provider]:
    """Run the portal with one page process and a client."""
    with databases.started(kind, folder) as make:
        var = make(folder / "var", None)
        databases.fill(var, "")
        wanted = {"sessions": 1, "users": 1_000, "passwords": CLIENTS, "redirect_uri": CALLBACK}
        made = json.loads(databases.fill(var, json.dumps(wanted)))["client"]
        with servers.portal("portal", var, IKD_PAGE_WORKERS="1") as server:
            host = servers.PORTAL_URL.partition("//")[2]
            yield Provider(
                server,
                lambda number: made["client_id"],
                made["secret"],
                "/openid/authorize",
                "/openid/token",
                {"Host": host, "X-Forwarded-Proto": "http"},
                lambda number: browser_signed_in(server, number),
            )


def show(name: str, costs: dict[str, Cost]) -> None:
    for step, cost in costs.items():
        print(
            f"{name:12} {step:12} {cost.cpu_ms:9.2f} {cost.per_second:12,.0f} {cost.p50_ms:8.1f}", flush=True
        )


def main() -> None:
    kind = os.environ.get("DATABASE") or "sqlite"
    if kind not in databases.KINDS:
        sys.exit(f"DATABASE must be {' or '.join(databases.KINDS)}, is {kind!r}")
    size = SMALL if os.environ.get("QUICK", "") not in ("", "0") else WHOLE
    print(f"Load average before: {report.load_average()}; {CLIENTS} clients, {size.calls} calls of each kind")
    print(f"{'provider':12} {'call':12} {'CPU ms':>9} {'each second':>12} {'p50 ms':>8}")
    found: dict[str, Any] = {"database": kind, "load_average_before": report.load_average()}
    with tempfile.TemporaryDirectory(prefix="ikd-bench-openid-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with portal(folder, kind) as provider:
            found["portal"] = measure(provider, size)
        show("portal", found["portal"])
        if openid_peer.is_installed():
            with openid_peer.keycloak(folder, CALLBACK, CLIENTS) as provider:
                found["keycloak"] = measure(provider, size)
            show("Keycloak", found["keycloak"])
        else:
            print("Keycloak is not there: run tests/upstreams/test_keycloak.py once, which fetches it")
        if openid_dex.is_installed():
            with openid_dex.dex(folder, CALLBACK, CLIENTS) as provider:
                found["dex"] = measure(provider, size)
            show("Dex", found["dex"])
        else:
            print("Dex is not there: put dex on PATH")
    output = Path(os.environ.get("IKD_VAR") or servers.ROOT / "var") / "bench-openid.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, default=asdict, indent=2) + "\n")
    print(output)


if __name__ == "__main__":
    main()
