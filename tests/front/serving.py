"""A real portal for tests: gunicorn with the portal's worker, and a database that tests can write."""

from __future__ import annotations

import hmac
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections
from django.db.utils import ConnectionHandler

from accounts.models import User
from authgate.check.state import new_code
from authgate.models import SignIn
from authgate.sign_ins import begin_sign_in, open_gate
from authgate.worker import stale_connections
from ikd_portal.settings import database as database_settings
from tests.factories import ApplicationFactory, UserFactory
from tests.forks import Process, started
from tests.pattern import CHEAPEST_HASHES, copy_pattern

ROOT = Path(__file__).resolve().parent.parent.parent
WIKI = "https://wiki.example.com"
PUBLIC = "https://public.example.com"

SECRET_KEY = "a key of the tests' own server, which no installation has: 0123456789"
CACHE_TABLES = ("ikd_cache_default", "ikd_cache_codes")
"""Created even if the tests run on Redis, because a test's server may not use Redis."""

PATIENCE = 60.0
"""Seconds to wait for things that take a moment, on a machine that runs many servers at once."""


def program(name: str, package: str, *folders: str) -> str:
    """Return a program's path. Skip the test if Debian's package is missing; fail it on CI."""
    found = shutil.which(name, path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", *folders)))
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing: apt install {package}")
    if found is None:
        pytest.skip(f"{name} is missing: apt install {package}")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(is_so: Callable[[], bool], within: float = PATIENCE, every: float = 0.05) -> bool:
    """Wait until a condition holds. Return whether it held in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with suppress(OSError):
            if is_so():
                return True
        time.sleep(every)
    return False


# ---- the database -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Database:
    """A database besides that of pytest-django, which the tests' servers can read too."""

    url: str

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Make models read and write this database in the block. Each statement is its own transaction."""
        config = database_settings(self.url)
        if config["ENGINE"].endswith("sqlite3"):
            config["OPTIONS"] = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
        made_ready = ConnectionHandler().configure_settings({"default": config})["default"]
        # Another test's file may have had the number of this one.
        stale_connections.forget()
        before, settings_before = connections["default"], connections.settings["default"]
        _forget_the_database()
        connections.settings["default"] = made_ready
        connections["default"] = ours = connections.create_connection("default")
        try:
            yield
        finally:
            ours.close()
            _forget_the_database()
            connections.settings["default"] = settings_before
            connections["default"] = before


def _forget_the_database() -> None:
    """Forget values of one database: ids of content types, and connections below a loop.

    While a thread runs an event loop, Django keeps its connections in context variables. Playwright runs a
    loop in the thread of the tests. Without this, every later loop would find the connections of a browser
    test.
    """
    ContentType.objects.clear_cache()
    thread_storage = connections._connections._storage
    if hasattr(thread_storage, "cvar"):
        del thread_storage.cvar


def migrate(database: Database) -> None:
    """Create all tables, triggers and cache tables. A new SQLite file is a copy of the pattern."""
    path = Path(database.url.removeprefix("sqlite:///"))
    if database.url.startswith("sqlite:") and not path.exists():
        copy_pattern(path)
        return
    with database.connected():
        call_command("migrate", interactive=False, verbosity=0)
        call_command("createcachetable", *CACHE_TABLES, verbosity=0)


def signed_in(user: User, origin: str = WIKI) -> str:
    """Begin a sign-in and open a gate session. Return the gate cookie."""
    return f"__Host-ikd_gate={open_gate(begin(user), origin)}"


def unused_code() -> str:
    """Return a one-time code that the tests' own server must look up, because it could have issued it."""
    key = hmac.digest(SECRET_KEY.encode(), b"ikd sealed state", "sha256")
    return new_code(os.urandom(24), key)


def begin(user: User) -> SignIn:
    return begin_sign_in(
        user,
        session_digest=os.urandom(32).hex(),
        address=None,
        user_agent="",
        methods=["password"],
        keep=False,
    )


@dataclass(frozen=True)
class Cast:
    """alice in staff, bob in guests, and their gate cookies for the wiki, which is open to staff."""

    alice: User
    bob: User
    alice_cookie: str
    bob_cookie: str


def cast() -> Cast:
    alice = UserFactory(username="alice", email="alice@example.com", verified=True, groups=["staff"])
    bob = UserFactory(username="bob", email="bob@example.com", verified=True, groups=["guests"])
    ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])
    ApplicationFactory(name="Public", origins=[PUBLIC], who="everyone")
    return Cast(alice, bob, signed_in(alice), signed_in(bob))


# ---- the server -------------------------------------------------------------------------------------------


class Portal:
    """gunicorn with the portal's own configuration. `address` is (host, port) or the path of a socket.

    `run_by` is a command that runs the server, such as `ip netns exec`. `code` is the folder of the checkout.
    Use `as_fork=False` to measure the memory of its processes, because forks share memory with the tests'
    other programs.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        workers: int = 1,
        run_by: tuple[str, ...] = (),
        code: Path = ROOT,
        as_fork: bool = True,
        **settings: str,
    ) -> None:
        self.folder, self.code, self.database = folder, code, database
        self._run_by, self._as_fork = run_by, as_fork
        self.log = folder / "portal.log"
        bind = settings.pop("IKD_BIND", "") or f"127.0.0.1:{free_port()}"
        self.address: tuple[str, int] | str = bind.removeprefix("unix:")
        if not bind.startswith("unix:"):
            host, _, port = bind.partition(":")
            self.address = (host, int(port))
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "ikd_portal.settings",
            "IKD_VAR": str(folder),
            "IKD_PORTAL_URL": "https://sso.example.com",
            "IKD_SECRET_KEY": SECRET_KEY,
            "IKD_BIND": bind,
            "IKD_WORKERS": str(workers),
            "IKD_PAGE_WORKERS": "1",
            "IKD_EVENTS_AT_ONCE": "1000000",
            "DATABASE_URL": database.url,
            **CHEAPEST_HASHES,
            **settings,
        }
        self.process: Process | None = None

    def start(self, *options: str) -> Portal:
        configuration = str(self.code / "ikd_portal" / "gunicorn_conf.py")
        command = [
            *self._run_by,
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            configuration,
            *options,
            "ikd_portal.asgi:application",
        ]
        with self.log.open("ab") as log:
            self.process = started(
                command, output=log, cwd=self.code, env=self.environment, as_fork=self._as_fork
            )
        if not eventually(lambda: self.has_ended() or self.is_up()) or self.has_ended():
            self.stop()
            raise RuntimeError(self.log.read_text()[-3000:])
        return self

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def is_up(self) -> bool:
        wanted = int(self.environment["IKD_WORKERS"]), int(self.environment["IKD_PAGE_WORKERS"])
        if (len(self.workers()), len(self.page_workers())) < wanted:
            return False
        with self.connect() as connection:
            return connection.get("/healthz", Connection="close").status == 200

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                for worker in children(self.process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                self.process.kill()
                self.process.wait(10)

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def workers(self) -> list[int]:
        """Return the processes that answer checks."""
        return self._named("ikd-checks")

    def page_workers(self) -> list[int]:
        return self._named("ikd-pages")

    def _named(self, name: str) -> list[int]:
        assert self.process is not None
        return [pid for pid in children(self.process.pid) if _name_of(pid) == name]

    def connect(self) -> Connection:
        return Connection(self.address)

    def ask(self, cookie: str = "", *, origin: str = WIKI, path: str = "/") -> Reply:
        """Send one check on a new connection."""
        with self.connect() as connection:
            return connection.check(cookie, origin=origin, path=path)


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid: int) -> list[int]:
    """Return the live child processes of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


# ---- the wire ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for header, value in self.headers if header == name), "")


def check_bytes(
    cookie: str = "",
    *,
    origin: str = WIKI,
    path: str = "/",
    check: str = "/authgate/nginx",
    method: str = "GET",
    version: str = "1.1",
    body: bytes = b"",
    **more: str,
) -> bytes:
    """Return a check as the bytes that a proxy sends. Names in `more` have `_` for `-`."""
    scheme, _, host = origin.partition("://")
    headers = {
        "Host": "portal",
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-Host": host,
        "X-Forwarded-Uri": path,
        "X-Forwarded-For": "198.51.100.7",
    }
    if cookie:
        headers["Cookie"] = cookie
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = [f"{method} {check} HTTP/{version}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


WAITS_FOR_ITS_BODY = (
    b"POST /accounts/login/ HTTP/1.1\r\nHost: sso.example.com\r\nX-Forwarded-Proto: https\r\n"
    b"Origin: https://sso.example.com\r\nCookie: __Host-ikd_csrf=" + b"a" * 32 + b"\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)
"""A request that is answered (403: no token in the form) after its whole body. The caller adds its length."""


def sign_in_bytes(login: bytes) -> bytes:
    """Return the sign-in form with a wrong password."""
    form = b"login=" + login + b"&password=wrong&csrfmiddlewaretoken=" + b"a" * 32
    return WAITS_FOR_ITS_BODY + b"Content-Length: %d\r\n\r\n" % len(form) + form


class Connection:
    """A persistent connection to a server. It reads answers one by one, strictly by their length."""

    def __init__(self, address: tuple[str, int] | str, timeout: float = PATIENCE) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def check(self, cookie: str = "", **more: Any) -> Reply:
        self.send(check_bytes(cookie, **more))
        return self.reply(is_head=more.get("method") == "HEAD")

    def get(self, path: str, **headers: str) -> Reply:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.send(f"GET {path} HTTP/1.1\r\nHost: portal\r\n{lines}\r\n".encode())
        return self.reply()

    def reply(self, *, is_head: bool = False) -> Reply:
        """Read the next answer, without interim ones (1xx). Raises ConnectionError if there is none."""
        status_line, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(status_line.split(" ")[1])
        if status < 200:
            return self.reply(is_head=is_head)
        headers = tuple((name.lower(), value) for name, _, value in (line.partition(": ") for line in lines))
        found = dict(headers)
        if is_head or status in (204, 304):
            body = b""
        elif found.get("transfer-encoding") == "chunked":
            body = self._chunks()
        else:
            body = self._exactly(int(found["content-length"]))
        return Reply(status, headers, body)

    def is_closed(self, within: float) -> bool:
        """Return whether the other side closes within some seconds."""
        self.socket.settimeout(within)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def says_nothing(self, seconds: float) -> bool:
        """Return whether neither an answer nor a close arrives for some seconds."""
        self.socket.settimeout(seconds)
        try:
            self._more()
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        return False

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        self._until(b"\r\n")
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._more()
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found

    def _more(self) -> None:
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("closed without an answer")
        self._buffer += received
