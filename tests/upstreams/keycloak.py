"""A real Keycloak, set up as docs/keycloak.md says: its file and its command are read from there."""

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
import zipfile
from contextlib import suppress
from pathlib import Path
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
PATIENCE = 240
"""Seconds: the first start compiles, which takes a busy machine long."""

FOR_A_SHORT_LIFE = "-XX:TieredStopAtLevel=1 -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
"""For a server that lives a minute, Java's second compiler and its verifier cost more than they save."""


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


def _unpacked() -> Path:
    """Return the folder of a Keycloak, fetched once. Skip the test if it cannot be; on CI, fail."""
    folder = _caches() / f"keycloak-{VERSION}"
    if (folder / "bin" / "kc.sh").exists():
        return folder
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
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(_caches() / "unpacking")
    (_caches() / "unpacking" / f"keycloak-{VERSION}" / "bin" / "kc.sh").chmod(0o755)
    (_caches() / "unpacking" / f"keycloak-{VERSION}").rename(folder)
    return folder


def installed() -> Path:
    """Return the folder of a Keycloak that is built, with the rows of its first start in data/h2.

    Both take most of a start, so they are kept.
    """
    with (_caches() / "keycloak.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = _unpacked()
        if not (folder / "prepared").exists():
            shutil.rmtree(folder / "data", ignore_errors=True)
            build = [str(folder / "bin" / "kc.sh"), "build", "--db=dev-file"]
            subprocess.run(build, check=True, capture_output=True)
            _started(folder, folder / "first-start.log", free_port()).stop()
            (folder / "prepared").touch()
    return folder


def _started(program: Path, log: Path, port: int, *options: str, java: str = "") -> Server:
    """Start a Keycloak that is built, and wait until it answers."""
    environment = os.environ | {
        "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
        "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
        "JAVA_OPTS_APPEND": f"{FOR_A_SHORT_LIFE} {java}",
    }
    plain = ["--http-enabled=true", "--http-host=127.0.0.1", f"--http-port={port}", "--hostname-strict=false"]
    command = [str(program / "bin" / "kc.sh"), "start", "--optimized", "--cache=local", *plain, *options]
    server = Server(command, log=log, env=environment)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.process.poll() is None:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/realms/master", timeout=30),
        ):
            return server
        time.sleep(0.2)
    server.stop()
    raise RuntimeError(server.log.read_text()[-4000:])


class Keycloak:
    """A running Keycloak with the realm of the page, and what administrators do there."""

    def __init__(self, folder: Path) -> None:
        binary("java", "openjdk-17-jre-headless")
        hosts = folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n127.0.0.2 sso.localhost\n")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.issuer = f"{self.url}/realms/{REALM}"
        program = installed()
        shutil.copy(program / "data" / "h2" / "keycloakdb.mv.db", folder)
        rows = f"--db-url=jdbc:h2:file:{folder}/keycloakdb;NON_KEYWORDS=VALUE;DB_CLOSE_ON_EXIT=FALSE"
        java = f"-Djdk.net.hosts.file={hosts}"
        self.server = _started(program, folder / "keycloak.log", port, rows, java=java)
        self._make_realm()

    def stop(self) -> None:
        self.server.stop()

    # ---- the administration ----

    def _token(self) -> str:
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": PASSWORD}
        url = f"{self.url}/realms/master/protocol/openid-connect/token"
        with urllib.request.urlopen(url, urlencode(form).encode(), timeout=60) as answer:
            token: str = json.load(answer)["access_token"]
            return token

    def admin(self, method: str, path: str, value: Any = None) -> Any:
        """Ask the admin API; `path` is below the realm, or all of them."""
        request = urllib.request.Request(
            f"{self.url}/admin/realms{path}",
            None if value is None else json.dumps(value).encode(),
            {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"},
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
        """Add the page's client for a portal, and give its secret."""
        text = json.dumps(shown_client()).replace("https://sso.example.com", portal)
        self.admin("POST", f"/{REALM}/clients", json.loads(text))
        name = shown_client()["clientId"]
        id = self.admin("GET", f"/{REALM}/clients?clientId={name}")[0]["id"]
        secret: str = self.admin("GET", f"/{REALM}/clients/{id}/client-secret")["value"]
        return secret

    def add_person(self, name: str, groups: tuple[str, ...] = ()) -> str:
        """Add somebody with the tests' password, and give their id."""
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
        """Add a client with a service account as the page says, and give the token that it gets."""
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
        """Do what *Sign out* on a person's sessions does."""
        self.admin("POST", f"/{REALM}/users/{person}/logout")

    def disable(self, person: str) -> None:
        self.admin("PUT", f"/{REALM}/users/{person}", {"enabled": False})
