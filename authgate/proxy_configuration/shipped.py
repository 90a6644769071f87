"""The files of deploy/, which the tests run, and functions that turn them into a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings

END = "\0"
"""The marker for the end of a file. No file contains this byte."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a configuration, with its path in the proxy's folder."""

    name: str
    text: str


class ShippedFileChanged(LookupError):
    """A file of deploy/ no longer contains a text that a configuration needs."""


@lru_cache(maxsize=64)
def shipped(name: str) -> str:
    """Return the text of a file in deploy/. Raises OSError."""
    return (Path(settings.BASE_DIR) / "deploy" / name).read_text(encoding="utf-8")


def between(text: str, start: str, end: str) -> str:
    """Return the part of a text from `start` up to `end`.

    Raises ShippedFileChanged unless `start` is there exactly once, with `end` after it.
    """
    if text.count(start) != 1 or end not in text.partition(start)[2]:
        raise ShippedFileChanged(start)
    return start + text.partition(start)[2].partition(end)[0]


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Replace each key by its value, in one pass, longest keys first.

    Raises ShippedFileChanged if a key is missing.
    """
    for key in changes:
        if key not in text:
            raise ShippedFileChanged(key)
    longest_first = sorted(changes, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda match: changes[match[0]], text)
