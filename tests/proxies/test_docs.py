"""The configurations in the documentation are the files that the tests run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDED = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
NAMES = ("nginx", "traefik", "caddy", "envoy", "haproxy", "ingress-nginx", "kubernetes", "cas")
PAGES = [ROOT / "docs" / f"{name}.md" for name in NAMES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_shows_the_files_as_they_are(page: Path) -> None:
    blocks = INCLUDED.findall(page.read_text())

    assert blocks
    for path, shown in blocks:
        assert shown == (ROOT / path).read_text(), f"{path} changed: python -m tests.proxies.include"


@pytest.mark.parametrize("proxy", ["nginx", "traefik"])
def test_shows_every_file(proxy: str) -> None:
    shown = {path for page in PAGES for path, _ in INCLUDED.findall(page.read_text())}

    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "deploy" / proxy).rglob("*") if path.is_file()}

    assert shipped <= shown
