from __future__ import annotations

from typing import Any


class NoCache:
    """A cache that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError(name)
