"""`make run`: the portal without the demo."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.conftest import END_LIMIT, ROOT, environment, free_port

COMMAND = [sys.executable, "-m", "ikd_portal.run"]


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A new portal: its address, and the file with its output, beside its folder `var`."""
    folder = tmp_path_factory.mktemp("alone")
    port, said = free_port(), folder / "said.txt"
    variables = environment(PORT=str(port), IKD_VAR=str(folder / "var"))
    with said.open("wb") as output:
        process = subprocess.Popen(COMMAND, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT)
    yield f"http://localhost:{port}", said
    process.terminate()
    process.wait(END_LIMIT)


def test_a_portal_without_an_administrator_prints_the_link_to_create_one(portal: tuple[str, Path]) -> None:
    address, said = portal

    _wait_for(address)

    assert f"{address}/first-administrator/" in said.read_text()


def test_a_taken_port_is_reported_in_one_line(portal: tuple[str, Path]) -> None:
    address, said = portal
    _wait_for(address)
    port = address.rpartition(":")[2]

    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment(PORT=port, IKD_VAR=str(said.with_name("var"))),
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert done.stderr == f"Port {port} is taken: choose another with PORT={int(port) + 1}.\n"


def test_a_mistake_in_a_setting_is_reported_in_one_line(tmp_path: Path) -> None:
    variables = environment(PORT=str(free_port()), IKD_VAR=str(tmp_path / "var"), IKD_PORTAL_URL="sso")

    done = subprocess.run(COMMAND, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert done.stderr == "IKD_PORTAL_URL must be an origin such as https://sso.example.com, is 'sso'\n"


def _wait_for(address: str) -> None:
    """Wait until the portal is ready."""
    ready = address.replace("localhost", "127.0.0.1") + "/readyz"
    for _ in range(600):
        try:
            urllib.request.urlopen(ready, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the portal does not answer")
