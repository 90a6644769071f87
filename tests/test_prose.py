"""Texts for users and readers are plain: short sentences with today's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.catalogues import CHINESE, ROOT, catalogue

STILTED = re.compile(
    r"\b(?:whoever|whomever|anew|mend(?:s|ed|ing)?|hang(?:s|ing)? on|hung on|but for|one's|oneself|"
    r"nought|whosoever|thereof|whilst|hitherto|it is they who|worth nothing)\b",
    re.IGNORECASE,
)
LONGEST = 30
"""The most words in a sentence of the documentation."""

DOCS = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
]
PACKAGES = ("accounts", "authgate", "ikd_portal", "openid", "demo", "benchmarks", "tools", "tests")
PRODUCT = [package for package in PACKAGES if package != "tests"]
IGNORE = re.compile(r"#\s*(?:type:\s*ignore|mypy:)")
REASONED = re.compile(r"  # type: ignore\[[a-z-]+\]  # \w\S* \w")
"""The code of one error, and a reason of at least two words."""

TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*") if path.suffix in {".html", ".txt"})

CODE = re.compile(r"```.*?```|~~~.*?~~~", re.DOTALL)
ENDS = re.compile(
    r"(?<=[.?!:;])[\"\u201d)*]*\s+(?=[\"“(*`A-Z0-9/])|\n\s*\n|\s\|\s|^\s*(?:[-*]|\d+\.)\s", re.MULTILINE
)


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page in Markdown: code is left out, list items and table cells stand alone."""
    text = CODE.sub("\n\n", text)
    text = re.sub(r"^#+ .*$", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    for part in ENDS.split(text):
        words = " ".join(part.split())
        if words:
            yield words


def words_in(sentence: str) -> int:
    """Return the number of words. A span of code counts as one."""
    return len(re.findall(r"[A-Za-z][\w'\u2019-]*", re.sub(r"`[^`]*`", "code", sentence)))


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_documentation_has_short_sentences(page: Path) -> None:
    assert [text for text in sentences(page.read_text()) if words_in(text) > LONGEST] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_documentation_has_no_stilted_words(page: Path) -> None:
    assert STILTED.findall(page.read_text()) == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_templates_have_no_stilted_words(template: Path) -> None:
    assert STILTED.findall(template.read_text()) == []


def test_messages_have_no_stilted_words() -> None:
    messages = {key[0] if isinstance(key, tuple) else key for key in catalogue(CHINESE / "django.mo")}

    assert {text for text in messages if STILTED.search(text)} == set()


def test_words_are_found() -> None:
    """If the search found nothing, every text would pass."""
    assert STILTED.findall("Whoever hangs on it signs in anew, but for you.") == [
        "Whoever",
        "hangs on",
        "anew",
        "but for",
    ]
    assert [*map(words_in, sentences("Two words. And `three in code` here.\n\n* One\n"))] == [2, 3, 1]
    assert list(_docstrings('def f():\n    """Give it."""\n')) == ["Give it."]


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_begin_with_verbs_of_today(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for text in _docstrings(path.read_text())
        if re.match(r"(?:Gives?|Tells?)\b", text)
    ]

    assert found == []


def test_ignored_type_errors_are_few_and_have_reasons() -> None:
    paths = [path for package in PRODUCT for path in (ROOT / package).rglob("*.py")]

    found = [line for path in paths for line in _ignores(path)]

    assert [line for line in found if not REASONED.search(line)] == []
    assert len(found) <= 19


def _ignores(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [f"{path}: {line.strip()}" for line in lines if IGNORE.search(line)]


def _docstrings(source: str) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text
