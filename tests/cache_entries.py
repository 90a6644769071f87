"""Read and empty caches, whether they are tables or in Redis."""

from __future__ import annotations

from typing import Any

from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.db import connection


def entries_of(alias: str) -> list[tuple[str, Any]]:
    """Return the keys and values of a cache, including expired ones."""
    cache: Any = caches[alias]
    if not isinstance(cache, DatabaseCache):
        return [(key, cache.get(key)) for key in cache.keys("*")]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT cache_key FROM {cache._table}")
        keys = [key.split(":", 2)[2] for (key,) in cursor.fetchall()]
    return [(key, cache.get(key)) for key in keys]


def empty(alias: str) -> None:
    """Delete the entries of a cache. On Redis, `clear` would delete all caches: they share a database."""
    cache: Any = caches[alias]
    if isinstance(cache, DatabaseCache):
        cache.clear()
    else:
        cache.delete_pattern("*")
