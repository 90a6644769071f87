"""How often an event may be written that repeats, or that an attacker can cause at will."""

from __future__ import annotations

from django.core.cache import cache


def may_record(key: str, seconds: int) -> bool:
    """Return whether no event of this key was written in the last seconds, and count this one as written.

    If the cache cannot be reached, none may be written.
    """
    try:
        return cache.add(key, 1, seconds)
    except Exception:
        return False
