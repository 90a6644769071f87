"""Queries that the ORM compiles once and that then run with other values.

Compiling a query for sessions takes the ORM longer than SQLite takes to run it for 64 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import QuerySet

SIZES = (1, 4, 16, 64, 128, 256, 512)
"""Numbers of digests that a query is compiled for. A shorter list is filled up with its last digest."""

DIGEST_LENGTH = 32


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    values: tuple[Any, ...]
    places: tuple[int, ...]
    """Where among `values` the digests stand."""

    converters: tuple[tuple[int, tuple[Callable[..., Any], ...], Any], ...]


class PreparedQuery:
    """A query for the rows of some digests. `build` returns its queryset, a `values_list`."""

    def __init__(self, build: Callable[[list[bytes]], QuerySet[Any, Any]]) -> None:
        self._build = build
        self._compiled: dict[tuple[str, int], _Compiled] = {}

    def rows(self, digests: list[bytes]) -> Iterator[tuple[Any, ...]]:
        """Load the rows of the digests as the queryset would. One query for 512 digests."""
        most = SIZES[-1]
        for start in range(0, len(digests), most):
            yield from self._rows(digests[start : start + most])

    def _rows(self, digests: list[bytes]) -> Iterable[tuple[Any, ...]]:
        connection: Any = connections[DEFAULT_DB_ALIAS]
        size = next(size for size in SIZES if size >= len(digests))
        compiled = self._compiled.get((connection.vendor, size))
        if compiled is None:
            compiled = self._compiled[connection.vendor, size] = self._compile(connection, size)
        values = list(compiled.values)
        padded = digests + digests[-1:] * (size - len(digests))
        for place, digest in zip(compiled.places, padded, strict=True):
            values[place] = connection.Database.Binary(digest)
        with connection.cursor() as cursor:
            cursor.execute(compiled.sql, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        return _converted(found, compiled, connection)

    def _compile(self, connection: Any, size: int) -> _Compiled:
        examples = [number.to_bytes(DIGEST_LENGTH, "big") for number in range(size)]
        compiler = self._build(examples).query.get_compiler(connection=connection)
        sql, values = compiler.as_sql()
        binary = type(connection.Database.Binary(b""))
        places = tuple(place for place, value in enumerate(values) if isinstance(value, binary))
        converters = compiler.get_converters([expression for expression, *_ in compiler.select])
        in_order = tuple((place, tuple(found), of) for place, (found, of) in sorted(converters.items()))
        return _Compiled(sql, tuple(values), places, in_order)


def _converted(rows: list[tuple[Any, ...]], compiled: _Compiled, connection: Any) -> list[tuple[Any, ...]]:
    if not compiled.converters:
        return rows
    converted = []
    for found in rows:
        row = list(found)
        for place, converters, expression in compiled.converters:
            value = row[place]
            for converter in converters:
                value = converter(value, expression, connection)
            row[place] = value
        converted.append(tuple(row))
    return converted
