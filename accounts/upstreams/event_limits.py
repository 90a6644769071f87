"""Limits on events that repeat, or that an attacker can cause at will."""

from __future__ import annotations

from django.core.cache import cache


def may_record(key: str, seconds: int) -> bool:
    """Return whether no event with this key was written in the last seconds, and count this one.

    If the cache cannot be reached, return False.
    """
    try:
        return cache.add(key, 1, seconds)
    except Exception:
        return False
