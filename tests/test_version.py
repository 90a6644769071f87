"""The version is defined once, and shown only where operators look for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from ikd_portal import __version__
from tests.front.serving import Database, Portal
from tests.own_database import create_database_in

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "the token of the operators"


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A running portal with an operators' token."""
    folder = tmp_path_factory.mktemp("portal")
    portal = Portal(folder, Database(create_database_in(folder)), IKD_METRICS_TOKEN=TOKEN).start()
    yield portal
    portal.stop()


@pytest.mark.parametrize("command", ["version", "--version"])
def test_the_command_prints_the_version_and_creates_nothing(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), command],
        env=os.environ | {"IKD_VAR": str(tmp_path / "var"), "IKD_PORTAL_URL": "no origin"},
        capture_output=True,
        text=True,
    )

    assert (done.stdout, done.returncode) == (f"{__version__}\n", 0)
    assert not (tmp_path / "var").exists()


def test_the_packages_metadata_use_the_same_version() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["hatch"]["version"] == {"path": "ikd_portal/__init__.py"}


def test_the_newest_version_of_the_changelog_is_this_one() -> None:
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )

    assert versions[0] == __version__


def test_healthz_names_the_version_to_operators(portal: Portal) -> None:
    with portal.connect() as connection:
        reply = connection.get("/healthz", Authorization=f"Bearer {TOKEN}")

    assert (reply.status, reply.body) == (200, f"ok {__version__}\n".encode())


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/accounts/login/", "/no-such-page"])
@pytest.mark.parametrize("credentials", [None, "Bearer ", "Bearer wrong", "Basic b3BlcmF0b3I6eA=="])
def test_strangers_never_see_the_version(portal: Portal, path: str, credentials: str | None) -> None:
    headers = {} if credentials is None else {"Authorization": credentials}
    with portal.connect() as connection:
        reply = connection.get(path, **headers)

    assert __version__.encode() not in reply.body
    assert __version__ not in str(reply.headers)


@pytest.mark.parametrize("credentials", [None, "Bearer wrong"])
def test_healthz_answers_200_whatever_the_credentials(portal: Portal, credentials: str | None) -> None:
    headers = {} if credentials is None else {"Authorization": credentials}
    with portal.connect() as connection:
        reply = connection.get("/healthz", **headers)

    assert (reply.status, reply.body) == (200, b"ok\n")


def test_without_a_token_in_the_settings_no_credentials_show_it(settings: Settings) -> None:
    settings.IKD_METRICS_TOKEN = ""

    assert Client().get("/healthz", headers={"authorization": "Bearer "}).content == b"ok\n"
