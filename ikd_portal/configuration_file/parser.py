"""Parses YAML into a tree of nodes of limited depth.

Anchors, aliases and tags are refused: a few lines of them can expand to gigabytes or create objects. Only
commands read files, so the portal's processes do not import this module.
"""

from __future__ import annotations

from typing import Any

import yaml

from ikd_portal.configuration_file.tree import InvalidFile, Items, Mapping, Node, Problem, Scalar

DEEPEST = 12
"""Levels at most. The schema has eight."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""LibYAML if PyYAML was built with it. It is ten times as fast."""


def parse(text: str) -> Mapping:
    """Return the mapping at the root of a YAML document. Raises InvalidFile."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise InvalidFile([Problem(line, f"This is not YAML: {error.problem or error.context}.")]) from None
    except yaml.YAMLError:
        line = next((n for n, each in enumerate(text.split("\n"), 1) if not _is_readable(each)), 1)
        raise InvalidFile([Problem(line, "This line has a character that YAML does not allow.")]) from None
    if builder.problems:
        raise InvalidFile(builder.problems)
    if not isinstance(builder.root, Mapping):
        raise InvalidFile([Problem(1, "The file must consist of keys such as `applications:`.")])
    return builder.root


def _is_readable(line: str) -> bool:
    return all(each.isprintable() or each in "\t\r" for each in line)


def _is_text(text: str) -> bool:
    """Return whether databases can store a text: no NUL and no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


class _Builder:
    """Builds the tree from the parser's events, without recursion."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self.open: list[Items | Mapping] = []
        self.keys: list[Scalar | None] = []
        """For each open node, the key that waits for its value."""

        self.documents = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise InvalidFile(
                    [Problem(line, "The file has a second document. Remove everything after ---.")]
                )
        elif isinstance(event, yaml.AliasEvent):
            raise InvalidFile([Problem(line, "Anchors and aliases (& and *) are not supported.")])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.open.pop()
            self.keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event, line)

    def _take_node(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise InvalidFile([Problem(line, "Anchors and aliases (& and *) are not supported.")])
        if event.tag not in (None, "!"):
            raise InvalidFile([Problem(line, "Tags (!) are not supported.")])
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            if not _is_text(event.value):
                raise InvalidFile(
                    [Problem(line, "An escape here stands for a character that no text can have.")]
                )
            node = Scalar(line, event.value, is_plain=event.style in (None, ""))
        else:
            node = Mapping(line) if isinstance(event, yaml.MappingStartEvent) else Items(line)
        self._add(node)
        if not isinstance(node, Scalar):
            self.open.append(node)
            self.keys.append(None)
            if len(self.open) > DEEPEST:
                raise InvalidFile([Problem(line, f"This is nested deeper than {DEEPEST} levels.")])

    def _add(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        parent, key = self.open[-1], self.keys[-1]
        if isinstance(parent, Items):
            parent.nodes.append(node)
        elif key is None:
            if not isinstance(node, Scalar):
                raise InvalidFile([Problem(node.line, "A key must be a text.")])
            self.keys[-1] = node
        else:
            self._add_value(parent, key, node)
            self.keys[-1] = None

    def _add_value(self, parent: Mapping, key: Scalar, node: Node) -> None:
        if key.text in parent.nodes:
            first = parent.lines[key.text]
            self.problems.append(Problem(key.line, f"{key.text} is here twice, first in line {first}."))
            return
        parent.nodes[key.text] = node
        parent.lines[key.text] = key.line
