"""Malformed configuration files: each is refused with its line before any query."""

from __future__ import annotations

from pathlib import Path

import pytest

from ikd_portal.configuration_file.document import read_document
from ikd_portal.configuration_file.tree import LARGEST_FILE, InvalidFile, read_text

BILLION = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"

WRONG = {
    "nothing": ("", 1, "must consist of keys"),
    "a list": ("- a\n", 1, "must consist of keys"),
    "no version": ("groups: {}\n", 1, "version: 1"),
    "another version": ("version: 2\n", 1, "version: 1"),
    "no YAML": ("version: 1\ngroups: [\n", 3, "not YAML"),
    "a tab": ("version: 1\ngroups:\n\tstaff:\n", 3, "not YAML"),
    "an unknown key": ("version: 1\n\ngruops: {}\n", 3, "Unknown key 'gruops'"),
    "an unknown key of a group": ("version: 1\ngroups:\n  a: {permissions: [x]}\n", 3, "Unknown key"),
    "an unknown key of a rule": (
        "version: 1\napplications:\n  Wiki:\n    rules:\n      - path: /\n        group: [a]\n",
        6,
        "Unknown key 'group'",
    ),
    "a doubled key": ("version: 1\ngroups:\n  a: {}\n  b: {}\n  a: {}\n", 5, "twice, first in line 3"),
    "a doubled quoted key": ('version: 1\ngroups:\n  a: {}\n  "a": {}\n', 4, "twice"),
    "a word for a truth value": ("version: 1\ngroups:\n  a: {second_factor: yes}\n", 3, "true or false"),
    "a quoted truth value": ('version: 1\ngroups:\n  a: {second_factor: "true"}\n', 3, "true or false"),
    "a text for a list": ("version: 1\napplications:\n  W: {origins: https://a.example}\n", 3, "list of"),
    "a list for a text": ("version: 1\napplications:\n  W: {description: [a]}\n", 3, "a text"),
    "a number with a point": (
        "version: 1\napplications:\n  W:\n    rules:\n      - factor_minutes: 1.5\n",
        5,
        "a whole number",
    ),
    "a time without an offset": (
        "version: 1\napplications:\n  W:\n    rules:\n      - expires_at: 2030-01-01T00:00:00\n",
        5,
        "a time with its offset",
    ),
    "a time before time": (
        "version: 1\napplications:\n  W:\n    rules:\n      - expires_at: 0001-01-01T00:00:00+10:00\n",
        5,
        "a time with its offset",
    ),
    "an unknown choice": ("version: 1\napplications:\n  W: {challenges: digest}\n", 3, "bearer, basic, both"),
    "a null name": ("version: 1\napplications:\n  W: {description: null}\n", 3, "a text"),
    "an anchor": ("version: 1\ngroups: &all\n  a: {}\n", 2, "Anchors"),
    "a billion laughs": (BILLION, 1, "Anchors"),
    "an alias": ("version: 1\ngroups: *all\n", 2, "Anchors"),
    "a tag": ("version: 1\ngroups: !!python/object/apply:os.system [id]\n", 2, "Tags"),
    "a key that is a list": ("version: 1\n? [a]\n: b\n", 2, "A key must be a text"),
    "a second document": ("version: 1\n---\nversion: 1\n", 2, "second document"),
    "a deep nesting": (f"version: 1\ngroups: {'[' * 500}\n", 2, "deeper"),
    "a NUL": ('version: 1\ngroups:\n  "a\\0": {}\n', 3, "no text can have"),
    "half of a pair": ('version: 1\ngroups:\n  "a\\ud800": {}\n', 3, "character"),
    "a control character": ("version: 1\ngroups:\n  a\x07: {}\n", 3, "character"),
    "a name with a space": ('version: 1\ngroups:\n  "a ": {}\n', 3, "ends with a space"),
    "a secret": (
        "version: 1\nidentity_providers:\n  a: {client_secret: hunter2}\n",
        3,
        "Never the secret",
    ),
    "a client twice": (
        "version: 1\napplications:\n  A: {clients: {abc: {}}}\n  B: {clients: {abc: {}}}\n",
        4,
        "twice, first in line 3",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_with_its_line(name: str) -> None:
    text, line, words = WRONG[name]

    with pytest.raises(InvalidFile) as refused:
        read_document(text)

    assert [each.line for each in refused.value.problems] == [line]
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(InvalidFile) as refused:
        read_document("version: 1\ngroups:\n  a: {x: 1}\n  b: {second_factor: 7}\n")

    assert [each.line for each in refused.value.problems] == [3, 4]


def test_words_and_numbers_are_read_as_text_where_text_is_expected() -> None:
    document = read_document("version: 1\napplications:\n  no:\n    description: 010\n    category: on\n")

    assert document.applications[0].name == "no"
    assert document.applications[0].values == {"description": "010", "category": "on"}


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (LARGEST_FILE + 1))

    with pytest.raises(InvalidFile, match="larger than 4 MB"):
        read_text(huge)


@pytest.mark.parametrize(
    ("content", "words"), [(b"version: 1\n\xff", "line 2: This is not UTF-8"), (None, "cannot be read")]
)
def test_a_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "file.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidFile, match=words):
        read_text(path)
