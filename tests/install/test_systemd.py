"""The units of deploy/systemd: what systemd reports of them, and that a portal runs with them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.conftest import END_LIMIT, START_LIMIT, free_port
from tests.demo.visitor import Visitor
from tests.front.serving import eventually
from tests.install.packages import ROOT, Installation
from tests.install.running import PASSWORD, Running

UNITS = ROOT / "deploy" / "systemd"
SERVICE = UNITS / "ikd-portal.service"
EXPOSURE = 20
"""Tenths of systemd's score: it calls 2.0 OK, and 9.6 (a unit without restrictions) UNSAFE."""

DENIES_WRITABLE_CODE = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE, as MemoryDenyWriteExecute= does
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module", autouse=True)
def analyze() -> None:
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze is missing")
        pytest.skip("systemd-analyze is missing: apt install systemd")


def test_systemd_reads_the_service_without_a_warning(tmp_path: Path) -> None:
    unit = tmp_path / SERVICE.name
    unit.write_text(SERVICE.read_text().replace("/opt/ikd-portal/bin/ikd-portal", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )

    assert (done.returncode, [line for line in done.stderr.splitlines() if SERVICE.stem in line]) == (0, [])


def test_a_misspelled_line_would_be_found(tmp_path: Path) -> None:
    unit = tmp_path / SERVICE.name
    unit.write_text(SERVICE.read_text().replace("ProtectHome=", "ProtectHomes="))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )

    assert "ProtectHomes" in done.stderr


def test_the_service_has_a_low_exposure() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}"]
    done = subprocess.run([*command, str(SERVICE)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-500:]


def test_systemd_creates_the_user(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None or os.geteuid() != 0:
        pytest.skip("needs root and systemd-sysusers")
    (tmp_path / "etc").mkdir()
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "ikd-portal.sysusers")],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^ikd-portal:.*:/var/lib/ikd-portal:", (tmp_path / "etc/passwd").read_text(), re.MULTILINE
    )


def test_the_portal_reads_the_variables_of_the_unit(installed: Installation, tmp_path: Path) -> None:
    file = tmp_path / "portal.env"
    lines = (UNITS / "portal.env").read_text().splitlines()
    file.write_text(
        "\n".join(line.removeprefix("#") for line in lines if "=" in line and "://127" not in line)
    )
    done = installed.run("--env-file", str(file), "check", cwd=tmp_path, IKD_VAR=str(tmp_path / "var"))

    assert done.returncode == 0, done.stderr


@pytest.fixture
def restricted(installed: Installation, tmp_path: Path) -> Iterator[Running]:
    """A portal that can have no memory which is both writable and executable."""
    running = Running(free_port())
    variables = installed.environment(PORT=str(running.port), IKD_VAR=str(tmp_path / "var"))
    command = [str(installed.python), "-c", DENIES_WRITABLE_CODE, installed.command, "run"]
    with (tmp_path / "said.txt").open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=output, stderr=output)
    try:
        assert eventually(lambda: process.poll() is not None or running.is_up(), START_LIMIT)
        assert process.poll() is None, (tmp_path / "said.txt").read_text()
        yield running
    finally:
        process.terminate()
        process.wait(END_LIMIT)


def test_a_user_signs_in_without_writable_and_executable_memory(
    installed: Installation, restricted: Running, tmp_path: Path
) -> None:
    made = installed.run(
        *("manage", "createsuperuser", "--noinput", "--username", "carol", "--email", "carol@example.com"),
        cwd=tmp_path,
        IKD_VAR=str(tmp_path / "var"),
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )
    page = Visitor(restricted.port).open_signing_in(f"{restricted.url}/admin/", "carol", PASSWORD)

    assert made.returncode == 0, made.stderr
    assert "carol" in page
