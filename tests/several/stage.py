"""Two real portals on one database, behind a real nginx and a real Traefik, and load that counts."""

from __future__ import annotations

import http.client
import ipaddress
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import Argon2PasswordHasher, make_password

from accounts.models import User
from authgate.check.credentials import new_token
from authgate.models import Origin
from authgate.sign_ins import open_gate
from tests import behaviour
from tests.behaviour import FETCH, NAVIGATION, PORTAL, SITES
from tests.factories import PASSWORD
from tests.front.serving import ROOT, Database, Portal, begin, children, eventually, free_port, program
from tests.proxies import portal as proxied
from tests.proxies.backend import Backend
from tests.proxies.nginx import start_nginx
from tests.proxies.processes import Server
from tests.proxies.proxy import Proxy
from tests.proxies.traefik import start_traefik
from tests.proxies.wire import connected

GRACE = 3.0
"""Seconds for which a portal answers without its database."""

SESSIONS = 60
"""alice's gate sessions. There are so many that some checks are new to a portal."""

PATIENCE = 60.0
"""Seconds after which a page counts as lost."""


# ---- a network apart --------------------------------------------------------------------------------------


class Network:
    """A network namespace for a portal, which can be cut off: its packets are then lost."""

    def __init__(self) -> None:
        number = os.getpid() % 16_000
        self.name = f"ikd-{number}"
        begins = ipaddress.IPv4Address("198.18.0.0") + number * 8
        self.outside, self.inside, self.database, self.redis = (str(begins + n) for n in (1, 2, 3, 4))

    def make(self) -> bool:
        """Create the network. Return False if this user cannot."""
        program("ip", "iproute2", "/sbin")
        if _ip("netns", "add", self.name).returncode:
            return False
        inside, outside = ("-n", self.name), (self.outside, self.database, self.redis)
        for command in (
            ("link", "add", self.name, "type", "veth", "peer", "name", "ikd0", "netns", self.name),
            *(("addr", "add", f"{each}/29", "dev", self.name) for each in outside),
            ("link", "set", self.name, "up"),
            (*inside, "addr", "add", f"{self.inside}/29", "dev", "ikd0"),
            (*inside, "link", "set", "ikd0", "up"),
            (*inside, "link", "set", "lo", "up"),
        ):
            assert _ip(*command).returncode == 0, command
        return True

    def remove(self) -> None:
        _ip("netns", "delete", self.name)

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        assert _ip("-n", self.name, "route", "add", "blackhole", f"{self.outside}/32").returncode == 0
        try:
            yield
        finally:
            _ip("-n", self.name, "route", "del", "blackhole", f"{self.outside}/32")

    @contextmanager
    def cut_off_from(self, address: str) -> Iterator[None]:
        """Lose every packet that the portal sends to an address, by a route to an unused interface."""
        inside = ("-n", self.name, "neigh")
        of_nobody = ("lladdr", "02:00:00:00:00:99", "nud", "permanent")
        assert _ip(*inside, "replace", address, *of_nobody, "dev", "ikd0").returncode == 0
        try:
            yield
        finally:
            _ip(*inside, "del", address, "dev", "ikd0")


def _ip(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False)


# ---- the load ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A requested page: time, duration, and status. The status is 0 without an answer."""

    who: str
    at: float
    seconds: float
    status: int
    error: str = ""


@dataclass
class Load:
    """The results of the pages requested from one proxy."""

    proxy: Proxy
    requests: dict[str, list[dict[str, str]]]
    pause: float = 0.01
    answers: list[Asked] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for who in self.requests:
            self._threads.append(threading.Thread(target=self._ask, args=(who,)))
            self._threads[-1].start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)

    def statuses(self, who: str) -> set[int]:
        return {answer.status for answer in self.answers if answer.who == who}

    def count(self, who: str) -> int:
        return sum(answer.who == who for answer in self.answers)

    def _ask(self, who: str) -> None:
        """Request pages in a loop on one connection, as a browser does."""
        connection, number = None, 0
        while not self._ended.is_set():
            headers = self.requests[who][number % len(self.requests[who])]
            number += 1
            asked, error = time.monotonic(), ""
            try:
                connection = connection or self._connect()
                connection.request("GET", "/staff/x" if who == "bob" else "/page", headers=headers)
                response = connection.getresponse()
                response.read()
                status = response.status
                if response.will_close:
                    connection = None
            except (OSError, http.client.HTTPException) as failed:
                status, connection, error = 0, None, repr(failed)
            self.answers.append(Asked(who, asked, time.monotonic() - asked, status, error))
            time.sleep(self.pause)
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        portal = self.proxy.portal
        connection = http.client.HTTPConnection(portal.host("app"), timeout=PATIENCE)
        connection.sock = connected(self.proxy.address, portal.names["app"], PATIENCE)
        return connection


# ---- all of it --------------------------------------------------------------------------------------------


class Several:
    """Two portals behind both proxies. bob may not open /staff/, and one session belongs to no user."""

    hosts: dict[str, str]
    """The address of this machine's servers for each portal."""

    def __init__(self, portals: dict[str, Portal], proxies: list[Proxy], tokens: list[str]) -> None:
        self.portals, self.proxies = portals, proxies
        self.origin = proxies[0].portal.origin("app")
        self.portal_host = proxies[0].portal.host("portal")
        self.cookie_name = proxies[0].portal.cookie_name("app")
        alice, bob = (
            [FETCH | {"Cookie": f"{self.cookie_name}={token}"} for token in some]
            for some in (tokens[:-1], tokens[-1:])
        )
        self.requests = {
            "alice": alice[:1],
            "alice in many browsers": alice,
            "bob": bob,
            "nobody": [FETCH],
            "nobody's page": [NAVIGATION],
        }

    def is_open(self) -> bool:
        return all(
            proxy.ask("/page", headers=self.requests["alice"][0]).status == 200 for proxy in self.proxies
        )

    def is_healthy(self) -> bool:
        """Return whether each portal answers checks: one in memory, and one that it must look up."""
        known = self.requests["alice"][0]["Cookie"]
        unknown = f"{self.cookie_name}={new_token()}"
        return all(
            (portal.ask(known, origin=self.origin).status, portal.ask(unknown, origin=self.origin).status)
            == (200, 401)
            for portal in self.portals.values()
        )

    def is_ready(self) -> bool:
        return all(status_of(portal, "/readyz") == 200 for portal in self.portals.values())

    def assert_healthy(self) -> None:
        assert eventually(lambda: self.is_open() and self.is_healthy() and self.is_ready(), 30)

    def lost_sessions(self) -> int:
        """Return how many of alice's sessions are unknown to one of the portals."""
        return sum(
            any(
                portal.ask(request["Cookie"], origin=self.origin).status != 200
                for portal in self.portals.values()
            )
            for request in self.requests["alice in many browsers"]
        )

    def start_again(self, **settings: str | dict[str, str]) -> None:
        """Restart both portals with other settings: the same for both, or one set for each."""
        run_at_once(Portal.stop, self.portals.values())
        for name, portal in self.portals.items():
            portal.environment |= {
                key: value if isinstance(value, str) else value[name] for key, value in settings.items()
            }
        run_at_once(Portal.start, self.portals.values())
        self.assert_healthy()

    @contextmanager
    def load(self) -> Iterator[list[Load]]:
        """Request pages from both proxies in the block. Wait for healthy portals before it ends."""
        loads = [Load(proxy, self.requests) for proxy in self.proxies]
        for each in loads:
            each.start()
        try:
            time.sleep(0.7)
            yield loads
            time.sleep(0.7)
        finally:
            for each in loads:
                each.stop()


def assert_nothing_lost(load: Load) -> None:
    """Assert every answer: no user without access was admitted, and no other was refused."""
    expected = {
        "alice": 200,
        "alice in many browsers": 200,
        "bob": 403,
        "nobody": 401,
        "nobody's page": 302,
    }
    lost = [answer for answer in load.answers if answer.status != expected[answer.who]]
    assert lost == [], f"{load.proxy.name} lost {len(lost)} of {len(load.answers)}: {lost[:9]}"
    assert min(map(load.count, expected)) > 2


def status_of(portal: Portal, path: str) -> int:
    with portal.connect() as connection:
        return connection.get(path, Connection="close").status


def processes(portal: Portal) -> list[int]:
    assert portal.process is not None
    return [portal.process.pid, *children(portal.process.pid)]


def kill(portal: Portal) -> None:
    for pid in processes(portal):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert portal.process is not None
    portal.process.wait(20)


@contextmanager
def stopped(portal: Portal) -> Iterator[None]:
    """Stop all processes of a portal with SIGSTOP: connections stay open, and no answer comes."""
    pids = processes(portal)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def two_portals(
    database: Database,
    folder: Path,
    network: Network | None,
    first: Database | None = None,
    stores: tuple[str, str] = ("", ""),
    code: Path = ROOT,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[Several]:
    """Run two portals on a database, the second in its own network, with both proxies in front.

    `first` is the database's address for the first portal. `stores` are their URLs of Redis. `code` is the
    checkout that they run. `prepare` is called before they start.
    """
    port, plain_port = free_port(), free_port()
    origin = f"https://{SITES['app']}:{port}"
    behaviour.create_people_and_sites(f":{port}")
    assert Origin.objects.filter(value=origin).exists()
    alice, bob = (User.objects.get(username=name) for name in ("alice", "bob"))
    tokens = [open_gate(begin(user), origin) for user in [alice] * SESSIONS + [bob]]
    password = make_password(PASSWORD, hasher=Argon2PasswordHasher())  # the server's own hasher
    User.objects.filter(username__in=("alice", "erin", "frank")).update(password=password)
    settings = {"IKD_PORTAL_URL": f"https://{PORTAL}:{port}", "IKD_STALE_GRACE": str(GRACE)}
    for name in ("a", "b"):
        (folder / name).mkdir()
    apart = {"IKD_BIND": f"{network.inside}:8000", "IKD_TRUSTED_PROXIES": network.outside} if network else {}
    run_by = ("ip", "netns", "exec", network.name) if network else ()
    portals = {
        "a": Portal(folder / "a", first or database, **settings, code=code, REDIS_URL=stores[0]),
        "b": Portal(
            folder / "b", database, run_by=run_by, **settings, **apart, code=code, REDIS_URL=stores[1]
        ),
    }
    backend = Backend(("app",))
    backend.start()
    names = {"portal": PORTAL, **SITES}
    binds = [f"{portal.address[0]}:{portal.address[1]}" for portal in portals.values()]
    shown = proxied.Portal("https", names, port, plain_port, binds[0], {}, None, {})  # type: ignore[arg-type]
    proxies: list[Proxy] = []
    prepare()
    try:
        run_at_once(Portal.start, portals.values())
        for start, file in ((start_nginx, "minimal.conf"), (start_traefik, "several.yaml")):
            place = folder / file
            place.mkdir()
            proxies.append(start(shown, backend, place, file=file, second_at=binds[1]))
        several = Several(portals, proxies, tokens)
        several.hosts = {"a": "127.0.0.1", "b": network.outside if network else "127.0.0.1"}
        assert eventually(several.is_open, 30)
        yield several
    finally:
        run_at_once(Server.stop, [proxy.server for proxy in proxies])
        run_at_once(Portal.stop, portals.values())
        backend.stop()


def run_at_once(do: Callable[[Any], object], each: Iterable[Any]) -> None:
    with ThreadPoolExecutor() as threads:
        list(threads.map(do, each))
