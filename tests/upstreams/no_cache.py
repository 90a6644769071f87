from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError as RedisIsGone


class NoCache:
    """A cache that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        raise RedisIsGone(name)
