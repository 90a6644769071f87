"""Real servers for the tests of upstreams: a portal in gunicorn, and npm's oidc-provider."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.forks import printed_by
from tests.own_database import environment_in
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary, free_port

NPM = Path(__file__).parent / "npm"


def url_of(portal: Portal) -> str:
    return f"http://localhost:{portal.bind.rpartition(':')[2]}"


def add_upstream(
    portal: Portal, folder: Path, slug: str, issuer: str, secret: str = "s3cr3t", url: str = ""
) -> str:
    """Add a provider with the command for administrators, and return its output."""
    file = folder / f"{slug}-secret"
    file.write_text(secret)
    arguments = ["--client-id", "portal", "--client-secret-file", str(file), "--allow-private"]
    return printed_by(
        ["manage.py", "upstream", "add", "oidc", slug.title(), "--issuer", issuer, *arguments],
        environment_in(folder, url or url_of(portal)),
    )


@dataclass
class Visitor:
    """A small HTTP browser. It keeps cookies and does not follow redirects."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    at_most: float = 30
    """The longest time to wait for an answer, in seconds."""

    def get(self, path: str) -> tuple[int, str, str]:
        """Return status, Location and body."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=self.at_most)
        cookie = "; ".join(f"{name}={value}" for name, value in list(self.cookies.items()))
        connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
        response = connection.getresponse()
        for line in response.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        answer = (response.status, response.headers.get("Location", ""), response.read().decode())
        connection.close()
        return answer


def installed(source: Path = NPM, package: str = "oidc-provider", script: str = "provider.mjs") -> Path:
    """Return a folder with a package of npm, installed once for each state of the lock file in `source`."""
    npm = binary("npm", "npm")
    state = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:12]
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = caches / "ikd-portal-tests" / f"{package}-{state}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, folder)
            _install(npm, folder, package)
        shutil.copy(source / script, folder)
    return folder


def _install(npm: str, folder: Path, package: str) -> None:
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"npm cannot install {package}: is the registry reachable?")
    assert done.returncode == 0, done.stderr
    (folder / "done").touch()


def start_oidc_provider(
    folder: Path, redirect_uri: str, secret: str, domain: str, host: str = "127.0.0.1"
) -> tuple[Server, str]:
    """Start npm's oidc-provider, and return it with its issuer."""
    node, port = binary("node", "nodejs"), free_port()
    command = [node, "provider.mjs", str(port), secret, redirect_uri, domain, host]
    server = Server(command, log=folder / f"{domain}.log", cwd=installed())
    server.wait_for((host, port))
    return server, f"http://{host}:{port}"
