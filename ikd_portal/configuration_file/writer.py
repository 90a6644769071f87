"""Writes values as YAML that every parser reads alike. Equal values produce equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Value = Any

_PLAIN = re.compile(
    r"[A-Za-z_/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*|https?://[A-Za-z0-9_./:-]*[A-Za-z0-9_/]"
)
_RESOLVER: Any = yaml.SafeLoader("")

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


class Comment(str):
    """A comment line in place of a key."""


def written(value: dict[str, Value]) -> str:
    """Return a mapping as a YAML document."""
    return "\n".join(_lines(value, "")) + "\n"


def _lines(value: dict[str, Value], indent: str) -> Iterator[str]:
    for key, each in value.items():
        if isinstance(each, Comment):
            yield f"{indent}# {each}"
        elif isinstance(each, dict) and each:
            yield f"{indent}{scalar(key)}:"
            yield from _lines(each, f"{indent}  ")
        elif isinstance(each, list) and each:
            yield f"{indent}{scalar(key)}:"
            yield from _items(each, f"{indent}  ")
        else:
            yield f"{indent}{scalar(key)}: {_inline(each)}"


def _items(values: list[Value], indent: str) -> Iterator[str]:
    for each in values:
        if isinstance(each, dict) and each:
            first, *rest = _lines(each, f"{indent}  ")
            yield f"{indent}- {first.strip()}"
            yield from rest
        else:
            yield f"{indent}- {_inline(each)}"


def _inline(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | dict):
        return "[]" if isinstance(value, list) else "{}"
    return scalar(value)


def scalar(text: str) -> str:
    """Return a text as a scalar: unquoted if every parser reads it as this text, otherwise in quotes."""
    if _PLAIN.fullmatch(text) and _is_text_everywhere(text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _is_text_everywhere(text: str) -> bool:
    """Return whether YAML 1.1 reads an unquoted text as text, and not as a boolean, date or number."""
    return bool(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str") and (
        text.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "none")
    )


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if character.isprintable() and number != 0xFEFF:
        return character
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
