"""A mistake in a proxy's configuration, and the finding that names it."""

from __future__ import annotations

from typing import NamedTuple

from tests.proxies.proxy import DEPLOY


class Mistake(NamedTuple):
    """Texts of deploy/ with those in their place, and the test and reason that the doctor names."""

    texts: dict[str, str]
    test: str
    reason: str
    line: str | None = None
    """A part of the line that fixes it; None if no line of the proxy is known."""


def minimal(folder: str, name: str) -> str:
    return (DEPLOY / folder / name).read_text()


def between(text: str, start: str, end: str) -> str:
    """Return a part of a text, up to the start of the next."""
    at = text.index(start)
    return text[at : text.index(end, at)]
