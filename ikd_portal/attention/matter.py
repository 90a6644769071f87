"""Matters for administrators, and how many names each shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

LATELY = timedelta(days=1)
SOON = timedelta(days=14)
NAMED = 3
"""Names shown. An ellipsis replaces the rest."""


@dataclass(frozen=True, slots=True)
class Matter:
    """A matter for administrators: its title, the advice, and the URL of the page."""

    title: str
    advice: str
    url: str
    is_serious: bool = False


def named(names: list[str]) -> str:
    """Return the first names of a list as one text."""
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
