"""The paths, make targets and links in CONTRIBUTING.md and the decisions exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [CONTRIBUTING, *DECISIONS, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
EVERY_PAGE = sorted({*PAGES, ROOT / "README.md", *(ROOT / "docs").glob("*.md")})
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"var"}
PLACEHOLDER = re.compile(r"<\w+>")


def paths_named(text: str) -> set[str]:
    """Return this repository's paths that a text names. A path with a placeholder counts as its folder."""
    words = re.findall(r"(?<![\w./<-])[\w.<-][\w./<>-]*", re.sub(r"https?://\S+", "", text))
    found = set()
    for word in words:
        path = word.partition("::")[0].rstrip(".")
        if PLACEHOLDER.search(path):
            path = PLACEHOLDER.split(path)[0].rpartition("/")[0]
        if path.split("/")[0] in TOP and "/" in path:
            found.add(path)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    assert {path for path in paths_named(page.read_text()) if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", page.read_text())

    assert {link for link in links if not (page.parent / link).exists()} == set()


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and GitLab create them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.stem)
def test_every_anchor_is_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]*)#([^)]+)\)", page.read_text())

    assert {
        f"{file}#{anchor}"
        for file, anchor in links
        if anchor not in anchors_of(page.parent / file if file else page)
    } == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))

    assert {name for name in targets if not re.search(rf"^{name}:", MAKEFILE, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.stem)
def test_every_command_in_a_block_is_on_its_own_line(page: Path) -> None:
    blocks = re.findall(r"^ *```(?:sh|shell)?\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)

    assert not [
        line for block in blocks for line in block.splitlines() if re.search(r"#.*\bmake \w+ +#", line)
    ]


def test_names_that_contributing_finds_in_files_exist() -> None:
    pairs = re.findall(r"`(\w+)`(?:,? (?:and|or) `(\w+)`)? in\s`([\w./-]+\.py)`", CONTRIBUTING.read_text())
    looked_for = {(name, path) for *names, path in pairs for name in names if name}

    assert len(looked_for) > 15
    assert {(name, path) for name, path in looked_for if name not in (ROOT / path).read_text()} == set()


def test_paths_are_found() -> None:
    """If the search found no path, every page would pass."""
    named = paths_named("See `authgate/decision/rules.py`, docs/decisions/, tests/proxies/<name>.py and a/b.")

    assert named == {"authgate/decision/rules.py", "docs/decisions/", "tests/proxies"}


def test_contributing_names_the_subject_of_each_recipe() -> None:
    named = paths_named(CONTRIBUTING.read_text())

    assert {"authgate/check/contracts.py", "authgate/decision/rules.py", "accounts/urls.py"} <= named


def test_the_index_lists_every_decision() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "decisions" / "README.md").read_text()))

    assert listed == {path.name for path in DECISIONS} - {"README.md"}
