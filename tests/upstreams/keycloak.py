"""A real Keycloak, set up as docs/keycloak.md says. Its file and its command are read from that page."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.proxies.processes import Server, binary, free_port

VERSION = "26.0.8"
SHA256 = "d82a52098db41f036bcfe8f2ebfd9251781c8af5959af8714e8aa9b311081786"
ARCHIVE = (
    "https://repo1.maven.org/maven2/org/keycloak/keycloak-quarkus-dist/"
    f"{VERSION}/keycloak-quarkus-dist-{VERSION}.zip"
)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "keycloak.md"
REALM, PASSWORD = "campus", "correct horse battery"
BUILD = ["build", "--db=dev-file"]
START = ["start", "--optimized", "--cache=local", "--http-enabled=true", "--http-host=127.0.0.1"]
START += ["--hostname-strict=false"]
OPTIONS = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD}
PATIENCE = 240
"""Seconds to wait. The first start compiles, which takes a busy machine long."""

FOR_A_SHORT_LIFE = "-XX:TieredStopAtLevel=1 -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
"""For a program that lives a minute, Java's second compiler and its verifier cost more than they save."""


def shown_client() -> dict[str, Any]:
    """Return the client file on the page."""
    found = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    client: dict[str, Any] = json.loads(found[1])
    return client


def shown_command() -> list[str]:
    """Return the arguments of the command on the page."""
    found = re.search(r"^manage\.py (upstream add .*)$", PAGE.read_text(), re.MULTILINE)
    assert found
    return found[1].split()


def _caches() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ikd-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _archive() -> Path:
    """Return Keycloak's archive, fetched once. Skip the test if it cannot be fetched; fail it on CI."""
    archive = _caches() / f"keycloak-{VERSION}.zip"
    if not archive.exists():
        part = archive.with_suffix(".part")
        try:
            with urllib.request.urlopen(ARCHIVE, timeout=60) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"Keycloak cannot be fetched from Maven Central: {error}")
        part.rename(archive)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive} is not Keycloak {VERSION}"
    return archive


def kept() -> Path:
    """Return the folder of a built Keycloak, with the rows of its first start in data/h2.

    Both take most of a start, so they are kept. The folder's name has a hash of what they depend on. The
    folder appears only when it is complete. No server writes there afterwards: servers run in a folder of
    `_own_folder`.
    """
    state = hashlib.sha256(json.dumps([SHA256, BUILD, START, OPTIONS]).encode()).hexdigest()[:12]
    folder = _caches() / f"keycloak-{VERSION}-built-{state}"
    with (_caches() / "keycloak.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with TemporaryDirectory(prefix="keycloak-building-", dir=_caches()) as temporary:
                shutil.unpack_archive(_archive(), temporary)
                program = Path(temporary) / f"keycloak-{VERSION}"
                _build(program)
                _started(program, program / "first-start.log", free_port()).stop()
                program.rename(folder)
    return folder


def _build(program: Path) -> None:
    command = [*_script(program), *BUILD]
    environment = _environment() | {"JAVA_OPTS_APPEND": FOR_A_SHORT_LIFE}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def _own_folder(folder: Path, built: Path) -> Path:
    """Return a Keycloak below `folder` that writes only there. Its parts are links to the kept one's."""
    own = folder / "program"
    (own / "bin").mkdir(parents=True)
    shutil.copy(built / "bin" / "kc.sh", own / "bin")  # Keycloak keeps its data at its real path
    for part in ("conf", "lib", "providers", "themes"):
        (own / part).symlink_to(built / part)
    (own / "data" / "h2").mkdir(parents=True)
    shutil.copy(built / "data" / "h2" / "keycloakdb.mv.db", own / "data" / "h2")
    return own


def _script(program: Path) -> list[str]:
    return ["sh", str(program / "bin" / "kc.sh")]


def _environment() -> dict[str, str]:
    """Return the environment without options for another Keycloak."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KC_")}


def _started(program: Path, log: Path, port: int, java: str = "") -> Server:
    """Start a built Keycloak, and wait until its administrator can sign in."""
    environment = _environment() | OPTIONS | {"JAVA_OPTS_APPEND": f"{FOR_A_SHORT_LIFE} {java}"}
    server = Server([*_script(program), *START, f"--http-port={port}"], log=log, env=environment)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.process.poll() is None:
        with suppress(OSError):
            _administrators_token(f"http://127.0.0.1:{port}")
            return server
        time.sleep(0.2)
    server.stop()
    raise RuntimeError(server.log.read_text()[-4000:])


def _administrators_token(url: str) -> str:
    form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": PASSWORD}
    path = "/realms/master/protocol/openid-connect/token"
    with urllib.request.urlopen(f"{url}{path}", urlencode(form).encode(), timeout=60) as answer:
        token: str = json.load(answer)["access_token"]
        return token


class Keycloak:
    """A running Keycloak with the realm of the page, and actions of its administrators."""

    def __init__(self, folder: Path) -> None:
        binary("java", "openjdk-17-jre-headless")
        self.kept = kept()
        hosts = folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n127.0.0.2 sso.localhost\n")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.issuer = f"{self.url}/realms/{REALM}"
        program = _own_folder(folder, self.kept)
        java = f"-Djdk.net.hosts.file={hosts}"
        self.begun = time.time()
        self.server = _started(program, folder / "keycloak.log", port, java)
        self._make_realm()

    def stop(self) -> None:
        self.server.stop()

    # ---- the administration ----

    def admin(self, method: str, path: str, value: Any = None) -> Any:
        """Send a request to the admin API. `path` is below the realm, or below the list of realms."""
        request = urllib.request.Request(
            f"{self.url}/admin/realms{path}",
            None if value is None else json.dumps(value).encode(),
            {
                "Authorization": f"Bearer {_administrators_token(self.url)}",
                "Content-Type": "application/json",
            },
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = answer.read()
                return json.loads(body) if body else None
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from None

    def _make_realm(self) -> None:
        self.admin("POST", "", {"realm": REALM, "enabled": True, "groups": [{"name": "crew"}]})

    def add_client(self, portal: str) -> str:
        """Add the page's client for a portal, and return its secret."""
        text = json.dumps(shown_client()).replace("https://sso.example.com", portal)
        self.admin("POST", f"/{REALM}/clients", json.loads(text))
        name = shown_client()["clientId"]
        id = self.admin("GET", f"/{REALM}/clients?clientId={name}")[0]["id"]
        secret: str = self.admin("GET", f"/{REALM}/clients/{id}/client-secret")["value"]
        return secret

    def add_person(self, name: str, groups: tuple[str, ...] = ()) -> str:
        """Add a user with the tests' password, and return their id."""
        person = {
            "username": name,
            "firstName": name.title(),
            "lastName": "Smith",
            "email": f"{name}@example.com",
            "emailVerified": True,
            "enabled": True,
            "groups": list(groups),
            "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
        }
        self.admin("POST", f"/{REALM}/users", person)
        id: str = self.admin("GET", f"/{REALM}/users?username={name}&exact=true")[0]["id"]
        return id

    def token_of_program(self, name: str, audience: str) -> str:
        """Add a client with a service account as the page says, and return its token."""
        mapper = {
            "name": "audience",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-audience-mapper",
            "config": {"included.custom.audience": audience, "access.token.claim": "true"},
        }
        client = {
            "clientId": name,
            "secret": PASSWORD,
            "publicClient": False,
            "standardFlowEnabled": False,
            "serviceAccountsEnabled": True,
            "protocolMappers": [mapper],
        }
        self.admin("POST", f"/{REALM}/clients", client)
        form = {"grant_type": "client_credentials", "client_id": name, "client_secret": PASSWORD}
        url = f"{self.issuer}/protocol/openid-connect/token"
        with urllib.request.urlopen(url, urlencode(form).encode(), timeout=60) as answer:
            token: str = json.load(answer)["access_token"]
            return token

    def sign_out(self, person: str) -> None:
        """Do what *Sign out* in a user's sessions does."""
        self.admin("POST", f"/{REALM}/users/{person}/logout")

    def disable(self, person: str) -> None:
        self.admin("PUT", f"/{REALM}/users/{person}", {"enabled": False})
