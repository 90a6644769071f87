"""The wheel, installed without a checkout: `ikd-portal` serves everything from an empty folder."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ikd_portal import __version__
from tests.demo.conftest import END_LIMIT, START_LIMIT, free_port
from tests.demo.visitor import Visitor
from tests.front.serving import eventually
from tests.install.packages import Installation
from tests.install.running import PASSWORD, SEED, Running


@dataclass(frozen=True, slots=True)
class Started(Running):
    """`ikd-portal run`, started in an empty folder."""

    folder: Path
    var: Path

    @property
    def said(self) -> str:
        return self.folder.with_suffix(".txt").read_text()


@pytest.fixture(scope="module")
def running(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("empty")
    running = Started(free_port(), folder, tmp_path_factory.mktemp("data") / "var")
    variables = installed.environment(PORT=str(running.port), IKD_VAR=str(running.var))
    with folder.with_suffix(".txt").open("wb") as output:
        process = subprocess.Popen(
            [installed.command, "run"], cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        assert eventually(lambda: process.poll() is not None or running.is_up(), START_LIMIT)
        assert process.poll() is None, running.said
        seeded = installed.run("manage", "shell", "-c", SEED, cwd=folder, IKD_VAR=str(running.var))
        assert seeded.returncode == 0, seeded.stderr
        yield running
    finally:
        process.terminate()
        process.wait(END_LIMIT)


def test_the_first_start_leads_to_an_administrator(running: Started) -> None:
    assert f"{running.url}/first-administrator/" in running.said


def test_data_are_only_in_the_data_folder(running: Started) -> None:
    keys = [running.var / name for name in ("secret-key", "encryption-key")]

    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600, 0o600]
    assert stat.S_IMODE(running.var.stat().st_mode) == 0o700
    assert list(running.folder.iterdir()) == []


def test_nothing_is_written_into_the_installation(installed: Installation, running: Started) -> None:
    shipped = installed.packages / "ikd_portal" / "shipped"

    assert {path.name for path in shipped.iterdir()} == {"deploy", "locale", "static", "templates"}
    assert not (installed.packages / "var").exists()


def test_an_administrator_signs_in(installed: Installation, running: Started) -> None:
    made = installed.run(
        *("manage", "createsuperuser", "--noinput", "--username", "carol", "--email", "carol@example.com"),
        cwd=running.folder,
        IKD_VAR=str(running.var),
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )
    visitor = Visitor(running.port)
    page = visitor.open_signing_in(f"{running.url}/admin/", "carol", PASSWORD)

    assert made.returncode == 0, made.stderr
    assert visitor.url == f"{running.url}/admin/"
    assert "carol" in page


def test_checks_follow_the_rules(running: Started) -> None:
    assert eventually(lambda: running.check("/public") == 200)
    assert running.check("/page") == 401


@pytest.mark.parametrize("path", ["/static/ikd.css", "/static/logo.svg", "/static/admin/css/base.css"])
def test_static_files_are_served(running: Started, path: str) -> None:
    status, headers, body = running.ask(path)

    assert (status, bool(body)) == (200, True)
    assert headers["Content-Type"].startswith(("text/css", "image/svg+xml"))


def test_pages_are_served_in_chinese(running: Started) -> None:
    status, _, body = running.ask("/accounts/login/", Accept_Language="zh-CN")

    assert status == 200
    assert "登录" in body


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0", "[::1]", "unix"])
def test_healthcheck_asks_the_address_that_the_portal_listens_on(
    bind: str, installed: Installation, running: Started, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/x.sock" if bind == "unix" else f"{bind}:{running.port}"
    done = installed.run("healthcheck", cwd=tmp_path, IKD_BIND=address)

    there = bind in ("127.0.0.1", "0.0.0.0")
    assert (done.returncode, done.stderr == "") == (0, True) if there else (1, False)


def test_a_backup_is_restored(installed: Installation, running: Started, tmp_path: Path) -> None:
    there, apart = {"IKD_VAR": str(running.var)}, {"IKD_VAR": str(tmp_path / "var")}
    backup = installed.run("backup", "copy.sqlite3", cwd=tmp_path, **there)
    migrated = installed.run("manage", "migrate", cwd=tmp_path, **apart)
    restored = installed.run("restore", "copy.sqlite3", cwd=tmp_path, **apart)
    question = ("explain", "https://wiki.example.com/public", "--json")
    explained = installed.run(*question, cwd=tmp_path, **apart)

    assert [backup.returncode, migrated.returncode, restored.returncode] == [0, 0, 0], restored.stderr
    assert explained.returncode == 0, explained.stderr


def test_the_demo_runs_behind_a_proxy(installed: Installation, tmp_path: Path) -> None:
    port, said = free_port(), tmp_path / "said.txt"
    variables = installed.environment(PORT=str(port), IKD_VAR=str(tmp_path / "var"))
    with said.open("wb") as output:
        process = subprocess.Popen(
            [installed.command, "demo"], cwd="/", env=variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        assert eventually(
            lambda: process.poll() is not None or "Ctrl-C to stop" in said.read_text(), START_LIMIT
        )
        notes = json.loads((tmp_path / "var" / "demo.json").read_text())
        app = f"{notes['applications']['app']['url']}/"
        page = Visitor(port).open_signing_in(app, "alice", notes["users"]["alice"])
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(END_LIMIT)

    assert "Hello alice" in page
    assert ended == 0


# ---- commands that serve nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["manage", "version"]], ids=" ".join)
def test_the_version_is_printed_whatever_the_settings(
    arguments: list[str], installed: Installation, tmp_path: Path
) -> None:
    done = installed.run(*arguments, cwd=tmp_path, IKD_VAR=str(tmp_path / "var"), IKD_PORTAL_URL="no origin")

    assert (done.stdout, done.returncode) == (f"{__version__}\n", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_the_same_command(installed: Installation, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed.python, "-m", "ikd_portal", "--help"],
        cwd=tmp_path,
        env=installed.environment(),
        capture_output=True,
        text=True,
    )

    assert done.stdout == installed.run("--help", cwd=tmp_path).stdout
    assert "ikd-portal [--env-file FILE] COMMAND" in done.stdout


@pytest.mark.parametrize(
    "command", ["backup", "restore", "move", "explain", "lockdown", "tidy", "check", "manage createsuperuser"]
)
def test_a_management_command_shows_its_help(command: str, installed: Installation, tmp_path: Path) -> None:
    done = installed.run(*command.split(), "--help", cwd=tmp_path, IKD_VAR=str(tmp_path / "var"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: ikd-portal {command}")


MISTAKES: dict[str, tuple[list[str], dict[str, str], str]] = {
    "a port": (["run"], {"PORT": "http"}, "PORT must be a number from 1 to 65535, is 'http'."),
    "an origin": (["check"], {"IKD_PORTAL_URL": "sso"}, "IKD_PORTAL_URL must be an origin"),
    "a number": (["run"], {"IKD_THREADS": "many"}, "IKD_THREADS must be a whole number, is 'many'"),
    "a database": (["tidy"], {"DATABASE_URL": "nonsense"}, "DATABASE_URL must be a URL such as postgres://"),
    "a folder": (["run"], {"IKD_VAR": "/proc/x"}, "/proc/x cannot be made"),
    "another address": (["run"], {"IKD_BIND": "192.0.2.1:8000"}, "this machine does not have this address"),
    "an argument": (["run", "--port=1"], {}, "ikd-portal run takes no arguments."),
    "no file": (["--env-file", "/no/such", "run"], {}, "/no/such cannot be read: No such file or directory."),
    "a folder for a file": (["--env-file", "/", "run"], {}, "/ cannot be read: Is a directory."),
}


@pytest.mark.parametrize(("arguments", "variables", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_in_one_line_with_its_cure(
    arguments: list[str], variables: dict[str, str], words: str, installed: Installation, tmp_path: Path
) -> None:
    done = installed.run(*arguments, cwd=tmp_path, **{"IKD_VAR": str(tmp_path / "var")} | variables)

    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_in_use_is_reported_at_once(
    installed: Installation, running: Started, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{running.port}"
    done = installed.run("run", cwd=tmp_path, IKD_VAR=str(tmp_path / "var"), IKD_BIND=address)

    assert done.returncode == 1
    assert done.stderr == f"IKD_BIND={address}: another program listens there. Choose another port.\n"


def test_a_folder_that_cannot_be_created_is_reported(installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    done = installed.run("run", cwd=tmp_path, IKD_VAR=str(tmp_path / "var" / "below"))

    assert done.returncode == 1
    assert done.stderr.endswith("choose a folder with IKD_VAR=.\n")


# ---- --env-file --------------------------------------------------------------------------------------------


def test_variables_are_read_from_a_file(installed: Installation, tmp_path: Path) -> None:
    file = tmp_path / "portal.env"
    file.write_text(
        f"# of this machine\n\nIKD_VAR='{tmp_path}/var'\nexport IKD_PORTAL_URL=sso\nIKD_THREADS = x"
    )
    broken = installed.run("--env-file", str(file), "check", cwd=tmp_path)
    file.write_text(file.read_text().replace("IKD_THREADS = x", ""))
    wrong = installed.run("--env-file", str(file), "check", cwd=tmp_path)
    right = installed.run(
        "--env-file", str(file), "check", cwd=tmp_path, IKD_PORTAL_URL="https://sso.example.com"
    )

    assert broken.stderr == f"{file}, line 5: write NAME=value.\n"
    assert wrong.stderr.endswith("is 'sso'\n")
    assert right.returncode == 0, right.stderr
    assert (tmp_path / "var" / "secret-key").exists()


@pytest.mark.parametrize("content", [b"IKD_SECRET_KEY: hunter2", b"IKD_X=\0hunter2", b"\xff=hunter2"])
def test_a_line_of_the_file_is_never_quoted(content: bytes, installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "portal.env").write_bytes(content)
    done = installed.run("--env-file", "portal.env", "check", cwd=tmp_path)

    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
