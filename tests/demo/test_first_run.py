"""`make demo` on a fresh machine: running programs, written files, and pages for visitors."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.demo.conftest import ROOT, Demo, environment, free_port, run_command
from tests.demo.visitor import Visitor

pytestmark = pytest.mark.proxy


def test_a_page_sends_a_visitor_to_the_portal(demo: Demo) -> None:
    status, headers, _ = demo.get(demo.url("app", "/page?x=1"), Accept="text/html")

    assert status == 302
    assert headers["Location"].startswith(f"{demo.notes['portal']}/continue?")


def test_a_script_gets_401_without_a_redirect(demo: Demo) -> None:
    status, headers, body = demo.get(demo.url("app", "/api/things"), Accept="application/json")

    assert (status, headers["Location"]) == (401, None)
    assert "error" in json.loads(body)


def test_the_public_path_is_open_to_everyone(demo: Demo) -> None:
    status, _, body = demo.get(demo.url("wiki", "/public"), Accept="application/json")

    assert status == 200
    assert json.loads(body)["identity"]["X-Auth-Request-User"] == ""


def test_identity_headers_of_a_client_never_reach_the_application(demo: Demo) -> None:
    claim = {"X-Auth-Request-User": "carol", "X_Auth_Request_User": "carol"}

    _, _, body = demo.get(demo.url("wiki", "/public"), Accept="application/json", **claim)

    assert "carol" not in body.decode()


@pytest.mark.parametrize("username", ["carol", "alice", "bob", "dave"])
@pytest.mark.parametrize("application", ["app", "wiki", "ops"])
def test_exactly_the_users_in_the_notes_are_let_in(demo: Demo, application: str, username: str) -> None:
    visitor = Visitor(demo.port)

    page = visitor.open_signing_in(demo.url(application), username, demo.notes["users"][username])

    allowed = username in demo.notes["applications"][application]["who"]
    assert (f"Hello {username}" in page) == allowed


def test_one_sign_in_opens_the_unrelated_domain_too(demo: Demo) -> None:
    visitor = Visitor(demo.port)
    visitor.open_signing_in(demo.url("app"), "alice", demo.notes["users"]["alice"])

    page = visitor.open(demo.url("wiki"))

    assert "Hello alice" in page


def test_scripts_can_read_addresses_and_users_from_the_notes(demo: Demo) -> None:
    assert demo.notes["connect"] == f"127.0.0.1:{demo.port}"
    assert demo.notes["portal"] == f"http://sso.localhost:{demo.port}"
    assert demo.notes["applications"]["ops"]["who"] == ["alice"]
    assert set(demo.notes["users"]) == {"carol", "alice", "bob", "dave"}


def test_the_addresses_and_passwords_are_printed(demo: Demo) -> None:
    said = demo.said()

    assert all(facts["url"] in said for facts in demo.notes["applications"].values())
    assert all(password in said for password in demo.notes["users"].values())


def test_other_users_of_the_machine_cannot_read_the_folder(demo: Demo) -> None:
    open_files = [
        path for path in (demo.var, *demo.var.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]

    assert open_files == []


def test_no_password_is_in_a_log(demo: Demo) -> None:
    logs = "".join(path.read_text() for path in (demo.var / "log").iterdir())

    assert [name for name, password in demo.notes["users"].items() if password in logs] == []


def test_manage_py_uses_the_demos_database(demo: Demo) -> None:
    ask = "from accounts.models import User; print(*User.objects.values_list('username', flat=True))"

    told = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c", ask],
        env=environment(IKD_VAR=str(demo.var)),
        capture_output=True,
        text=True,
        check=True,
    )

    assert "alice" in told.stdout


def test_a_second_demo_in_the_same_folder_is_refused_in_one_line(demo: Demo) -> None:
    assert _refusal(IKD_VAR=str(demo.var)) == (
        f"A demo runs in {demo.var} already: end it, or choose another folder with IKD_VAR=."
    )


def test_a_taken_port_is_reported_in_one_line(demo: Demo) -> None:
    elsewhere = str(demo.var.with_name("elsewhere"))

    assert _refusal(IKD_VAR=elsewhere, PORT=str(demo.port)) == (
        f"Port {demo.port} is taken: choose another with PORT={demo.port + 1}."
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PORT": "eighty"}, "PORT must be a number from 1 to 65535, is 'eighty'."),
        ({"PORT": "65536"}, "PORT must be a number from 1 to 65535, is '65536'."),
        ({"PROXY": "squid"}, "PROXY must be one of "),
        ({"IKD_VAR": "/proc/nowhere"}, "/proc/nowhere cannot be made"),
        ({"IKD_VAR": "/dev/null"}, "/dev/null cannot be made"),
    ],
    ids=["port-word", "port-range", "proxy", "no-permission", "no-folder"],
)
def test_a_mistake_is_reported_in_one_line(variables: dict[str, str], words: str) -> None:
    assert words in _refusal(**variables)


def test_a_demo_in_the_folder_of_another_portal_is_refused(demo: Demo, tmp_path: Path) -> None:
    original, copy = (sqlite3.connect(folder / "ikd.sqlite3") for folder in (demo.var, tmp_path))
    with closing(original), closing(copy):
        original.backup(copy)

    said = _refusal(IKD_VAR=str(tmp_path))

    assert said == f"{tmp_path} holds a portal that is not the demo's: choose another folder with IKD_VAR=."


def _refusal(**variables: str) -> str:
    """Run the demo with settings that prevent its start, and return its only line beside the progress."""
    done = subprocess.run(
        run_command(),
        env=environment(PORT=str(free_port())) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    lines = [line for line in done.stdout.splitlines() if not line.endswith("…")]
    assert (done.returncode, len(lines)) == (1, 1), done.stdout
    return lines[0]
