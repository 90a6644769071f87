"""A configuration file as a tree of nodes with their lines, limited in size.

Types come from the schema, not from YAML's rules, so `no` is a text if a text is expected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

LARGEST_FILE = 4_000_000
"""Bytes. Ten thousand applications with a few rules each need about as many."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake in a file."""

    line: int
    text: str


class InvalidFile(Exception):
    """A file that cannot be applied, with all its problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(f"line {each.line}: {each.text}" for each in self.problems))


@dataclass(frozen=True, slots=True)
class Scalar:
    line: int
    text: str
    is_plain: bool
    """Whether it is written without quotes. Otherwise `true` is a text, and so is `null`."""

    @property
    def is_null(self) -> bool:
        return self.is_plain and self.text in ("", "~", "null")


@dataclass(frozen=True, slots=True)
class Items:
    line: int
    nodes: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    line: int
    nodes: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """The line of each key."""


Node = Scalar | Items | Mapping


def read_text(path: Path) -> str:
    """Return the text of a file. Raises InvalidFile if it is too large, not UTF-8 or unreadable."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidFile([Problem(0, f"{path} cannot be read: {error.strerror}.")]) from None
    if len(content) > LARGEST_FILE:
        raise InvalidFile([Problem(0, f"{path} is larger than {LARGEST_FILE // 1_000_000} MB.")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidFile([Problem(line, "This is not UTF-8.")]) from None
