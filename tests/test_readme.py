"""The commands and files that the README names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.cast import PEOPLE, SITES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"make ([a-z]+)\b", README)) - {"an"}))
def test_a_command_is_a_target_of_the_makefile(command: str) -> None:
    assert re.search(rf"^{command}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("words", [*(site.host for site in SITES), *(person.role for person in PEOPLE)])
def test_the_first_minute_shows_the_demo_as_it_is(words: str) -> None:
    assert words in README
