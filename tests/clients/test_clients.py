"""Common programs with an API token as password, through real proxies to real servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from accounts.machines.api_tokens import make_token
from accounts.models import User
from authgate.models import Rule
from tests.clients.git_server import GitServer
from tests.clients.image import make_image
from tests.factories import ApplicationFactory
from tests.front.serving import program
from tests.origins.stage import Site, Stage, staged
from tests.proxies.processes import Server, free_port

pytestmark = pytest.mark.proxy
REGISTRY = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{addr: {address}, relativeurls: true, secret: of the tests}}
"""


@dataclass(frozen=True)
class Servers:
    """The origins behind the proxy, and alice's token."""

    stage: Stage
    registry: str
    git: str
    files: str
    folder: Path
    token: str
    git_server: GitServer


@pytest.fixture(scope="module", params=["nginx", "traefik"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("clients")
    git, files = GitServer(folder), folder / "files"
    files.mkdir()
    (files / "page").write_text("a page for programs")
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("registry", "files")}
    (folder / "registry.yaml").write_text(
        REGISTRY.format(folder=folder / "registry", address=addresses["registry"])
    )
    running = [
        Server(
            [program("docker-registry", "docker-registry"), "serve", str(folder / "registry.yaml")],
            log=folder / "registry.log",
        ),
        Server(
            [program("rclone", "rclone"), "serve", "webdav", str(files), "--addr", addresses["files"]],
            log=folder / "files.log",
            env=os.environ | {"HOME": str(folder)},
        ),
    ]
    sites = [
        Site("127.0.0.1", free_port(), backend)
        for backend in (*addresses.values(), f"127.0.0.1:{git.server_address[1]}")
    ]
    tokens: list[str] = []

    def fill() -> None:
        alice, made = User.objects.get(username="alice"), []
        for name, site, challenges in zip(
            ("Registry", "Files", "Git"), sites, ("basic", "basic", "both"), strict=True
        ):
            origin = f"http://127.0.0.1:{site.port}"
            made.append(
                ApplicationFactory(
                    name=name,
                    origins=[origin],
                    who=Rule.Who.SIGNED_IN,
                    without_https=True,
                    challenges=challenges,
                )
            )
        tokens.append(make_token(alice, "clients", made, 3600)[1])

    try:
        for server, name in zip(running, addresses, strict=True):
            server.wait_for(("127.0.0.1", int(addresses[name].rpartition(":")[2])))
        with staged(request.param, sites, folder, fill, scheme="http") as stage:
            origins = [stage.origin(site).removeprefix("http://") for site in sites]
            yield Servers(stage, origins[0], origins[2], origins[1], folder, tokens[0], git)
    finally:
        for server in running:
            server.stop()
        git.shutdown()
        git.server_close()


def run(*command: str, home: Path, expect: int = 0, input: str = "", **more: str) -> str:
    """Run a client in its own home directory, and return its output. Asserts the expected exit status."""
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        **more,
    }
    done = subprocess.run(
        command,
        env=environment,
        cwd=home,
        input=input,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == (expect == 0), said
    return said


# ---- container images -------------------------------------------------------------------------------------


def skopeo(servers: Servers, *arguments: str, home: Path, expect: int = 0) -> str:
    return run(program("skopeo", "skopeo"), "--insecure-policy", *arguments, home=home, expect=expect)


def test_skopeo_pushes_and_reads_an_image(servers: Servers, tmp_path: Path) -> None:
    make_image(tmp_path / "image", 3_000_000)
    creds, target = f"alice:{servers.token}", f"docker://{servers.registry}/team/app:1"

    skopeo(
        servers,
        *(
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            creds,
            f"oci:{tmp_path / 'image'}:latest",
            target,
        ),
        home=tmp_path,
    )
    found = skopeo(servers, "inspect", "--raw", "--tls-verify=false", "--creds", creds, target, home=tmp_path)

    assert "application/vnd.oci.image.manifest.v1+json" in found


def test_docker_login_accepts_a_token_as_password(servers: Servers, tmp_path: Path) -> None:
    login = ("login", "--tls-verify=false", "--authfile", str(tmp_path / "auth.json"), "-u", "alice", "-p")

    said = skopeo(servers, *login, servers.token, servers.registry, home=tmp_path)
    skopeo(servers, *login, "wrong", servers.registry, home=tmp_path, expect=1)
    other = servers.token[:-1] + ("y" if servers.token.endswith("x") else "x")
    skopeo(servers, *login, other, servers.registry, home=tmp_path, expect=1)

    assert "Login Succeeded" in said


# ---- git --------------------------------------------------------------------------------------------------


def git(*arguments: str, home: Path, expect: int = 0, **more: str) -> str:
    person = {
        f"GIT_{role}_{what}": "alice@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return run(program("git", "git"), *arguments, home=home, expect=expect, **person, **more)


def test_git_pushes_and_clones_with_the_username_in_the_url(servers: Servers, tmp_path: Path) -> None:
    ask = tmp_path / "password"
    ask.write_text(f"#!/bin/sh\necho {servers.token}\n")
    ask.chmod(0o700)
    url, password = f"http://alice@{servers.git}/project.git", {"GIT_ASKPASS": str(ask)}
    branch = f"main-{tmp_path.name}"
    git("init", "-q", "-b", branch, "work", home=tmp_path)
    (tmp_path / "work" / "large").write_bytes(os.urandom(2_000_000))
    git("-C", "work", "add", ".", home=tmp_path)
    git("-C", "work", "commit", "-qm", "A large file", home=tmp_path)

    git("-C", "work", "-c", "http.postBuffer=65536", "push", "-q", url, branch, home=tmp_path, **password)
    git("clone", "-q", "-b", branch, url, "again", home=tmp_path, **password)

    assert (tmp_path / "again" / "large").read_bytes() == (tmp_path / "work" / "large").read_bytes()


def test_git_is_refused_without_a_token(servers: Servers, tmp_path: Path) -> None:
    said = git("ls-remote", f"http://{servers.git}/project.git", home=tmp_path, expect=128)

    assert "could not read Username" in said


# ---- WebDAV and plain HTTP --------------------------------------------------------------------------------


def test_cadaver_stores_and_reads_files(servers: Servers, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login alice password {servers.token}\n")
    netrc.chmod(0o600)
    (tmp_path / "notes.txt").write_text("of cadaver")

    said = run(
        program("cadaver", "cadaver"),
        f"http://{servers.files}/",
        home=tmp_path,
        input="mkcol cadaver\ncd cadaver\nput notes.txt\nls\nquit\n",
    )

    assert "notes.txt" in said and "Authentication" not in said
    assert (servers.folder / "files" / "cadaver" / "notes.txt").read_text() == "of cadaver"


def test_rclone_copies_large_files_and_streams(servers: Servers, tmp_path: Path) -> None:
    rclone = program("rclone", "rclone")
    password = run(rclone, "obscure", servers.token, home=tmp_path).strip()
    remote = (":webdav:", "--webdav-url", f"http://{servers.files}", "--webdav-user", "alice")
    (tmp_path / "large").write_bytes(os.urandom(3_000_000))

    run(rclone, "copy", "large", *remote, "--webdav-pass", password, home=tmp_path)
    run(
        *(rclone, "rcat", ":webdav:streamed", *remote[1:], "--webdav-pass", password),
        home=tmp_path,
        input="x" * 300_000,
    )

    assert (servers.folder / "files" / "large").read_bytes() == (tmp_path / "large").read_bytes()
    assert (servers.folder / "files" / "streamed").stat().st_size == 300_000


def test_wget_and_curl_send_the_token_when_asked_for_a_password(servers: Servers, tmp_path: Path) -> None:
    url = f"http://{servers.files}/page"

    by_wget = run(
        *(program("wget", "wget"), "-qO-", "--user=alice", f"--password={servers.token}", url), home=tmp_path
    )
    by_curl = run(
        *(program("curl", "curl"), "-sf", "--anyauth", "-u", f"alice:{servers.token}", url), home=tmp_path
    )

    assert by_wget == by_curl == "a page for programs"


def test_a_browser_is_not_asked_for_a_password(servers: Servers, tmp_path: Path) -> None:
    """curl sends a browser's headers. A Basic challenge would open a window, even for an image."""
    browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    for headers in (["Accept: text/html"], ["Accept: image/avif,*/*"], ["Accept: */*"]):
        sent = [part for header in headers for part in ("-H", header)]
        said = run(
            *(program("curl", "curl"), "-si", "-A", browser, *sent, f"http://{servers.files}/page"),
            home=tmp_path,
        )

        assert "basic" not in said.lower()
