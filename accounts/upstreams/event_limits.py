"""Limits on events that repeat, or that an attacker can cause at any time."""

from __future__ import annotations

from django.core.cache import cache


def may_record(key: str, seconds: int) -> bool:
    """Return whether the caller may write an event: none with this key in the last `seconds`. Count it.

    If the cache cannot be reached, return False.
    """
    try:
        return cache.add(key, 1, seconds)
    except Exception:
        return False
