"""The documentation's site: its navigation has every page. `make site` checks the links."""

from __future__ import annotations

import re
from types import SimpleNamespace

from tools.locks import ROOT
from tools.site_hooks import on_page_markdown

DOCS = ROOT / "docs"
CONFIGURATION = (ROOT / "mkdocs.yml").read_text()


def test_the_navigation_has_every_page_once() -> None:
    named = re.findall(r"^ +- ([\w/-]+\.md)$", CONFIGURATION.partition("\nnav:\n")[2], re.MULTILINE)
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]

    assert sorted(named) == sorted(pages)


def test_a_broken_link_ends_the_build() -> None:
    assert "\nstrict: true\n" in CONFIGURATION
    assert "anchors: warn" in CONFIGURATION
    assert "make site" in (ROOT / ".ci" / "run").read_text()


def test_the_site_loads_nothing_from_other_servers() -> None:
    assert "  font: false" in CONFIGURATION
    assert "http" not in CONFIGURATION


def test_links_out_of_the_documentation_become_text() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    below = SimpleNamespace(file=SimpleNamespace(src_uri="decisions/a.md"))

    assert on_page_markdown("[L](../LICENSE), [a](b.md#c)", page) == "L, [a](b.md#c)"
    assert on_page_markdown("[a](../architecture.md)", below) == "[a](../architecture.md)"
