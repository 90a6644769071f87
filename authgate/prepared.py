"""Queries that the ORM compiles once and that then run with other values.

Compiling a query for sessions takes the ORM longer than SQLite takes to run it for 64 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet

SIZES = (1, 4, 16, 64, 128, 256, 512)
"""Numbers of digests that a query is compiled for. A shorter list is filled up with its last digest."""

DIGEST_LENGTH = 32

Row = TypeVar("Row", bound=Model)


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
        return _fetched(compiled, values, connection)

    def _compile(self, connection: Any, size: int) -> _Compiled:
        examples = [number.to_bytes(DIGEST_LENGTH, "big") for number in range(size)]
        binary = type(connection.Database.Binary(b""))
        return _compile(self._build(examples), connection, lambda value: isinstance(value, binary))


Value = int | str | datetime


class PreparedLookup:
    """A query with a few values that vary. `build` gets examples of them and returns a `values_list`.

    The examples tell the types of the values, and which places of the query they take. Nothing in the query
    itself may equal one of them.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], *types: type[Value]) -> None:
        self._build = build
        self._examples = tuple(_example(number, kind) for number, kind in enumerate(types))
        self._compiled: dict[str, tuple[_Compiled, tuple[int, ...]]] = {}

    def rows(self, *values: Value) -> list[tuple[Any, ...]]:
        """Load the rows as the queryset would with these values. One query."""
        connection: Any = connections[DEFAULT_DB_ALIAS]
        known = self._compiled.get(connection.vendor)
        if known is None:
            known = self._compiled[connection.vendor] = self._compile(connection)
        compiled, which = known
        adapted = [_adapted(value, connection) for value in values]
        filled = list(compiled.values)
        for place, number in zip(compiled.places, which, strict=True):
            filled[place] = adapted[number]
        return _fetched(compiled, filled, connection)

    def _compile(self, connection: Any) -> tuple[_Compiled, tuple[int, ...]]:
        """Return the compiled query, and for each of its places the number of the value."""
        examples = [_adapted(example, connection) for example in self._examples]
        compiled = _compile(self._build(*self._examples), connection, lambda value: value in examples)
        which = tuple(examples.index(compiled.values[place]) for place in compiled.places)
        if set(which) != set(range(len(examples))):
            raise ValueError("a value has no place in the query")
        return compiled, which


class PreparedInsert:
    """An INSERT of a few rows of a model, made once for each number of rows. It sends no signals."""

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._compiled: dict[tuple[str, int], str] = {}

    def insert(self, *rows: Model) -> None:
        """Insert the rows by one query. A single row gets its key."""
        connection: Any = connections[DEFAULT_DB_ALIAS]
        fields = [field for field in self._model._meta.concrete_fields if not field.primary_key]
        sql = self._compiled.get((connection.vendor, len(rows)))
        if sql is None:
            sql = self._compiled[connection.vendor, len(rows)] = self._compile(connection, fields, len(rows))
        values = [
            field.get_db_prep_save(field.pre_save(row, True), connection) for row in rows for field in fields
        ]
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            if len(rows) == 1:
                (rows[0].pk,) = cursor.fetchone()
        for row in rows:
            row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS

    def _compile(self, connection: Any, fields: list[Any], count: int) -> str:
        quote, meta = connection.ops.quote_name, self._model._meta
        columns = ", ".join(quote(field.column) for field in fields)
        places = f"({', '.join(['%s'] * len(fields))})"
        sql = f"INSERT INTO {quote(meta.db_table)} ({columns}) VALUES {', '.join([places] * count)}"  # noqa: S608
        return f"{sql} RETURNING {quote(meta.pk.column)}" if count == 1 else sql


@cache
def column_names(model: type[Model], path: str = "") -> tuple[str, ...]:
    """Return the names for `values_list` of all columns of a model, which stands at a path in the query."""
    return tuple(f"{path}{field.attname}" for field in model._meta.concrete_fields)


def instance_of(model: type[Row], values: Iterable[Any]) -> Row:
    """Return an instance of a model from the values of its columns, as a queryset would."""
    return model.from_db(DEFAULT_DB_ALIAS, column_names(model), list(values))


def _example(number: int, kind: type[Value]) -> Value:
    if kind is int:
        return 2_000_000_011 + number
    if kind is str:
        return f"example {number} 7d1c0f6a"
    return datetime(1970, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC) + timedelta(days=number)


def _adapted(value: Value, connection: Any) -> Any:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def _compile(queryset: QuerySet[Any, Any], connection: Any, varies: Callable[[Any], bool]) -> _Compiled:
    compiler = queryset.query.get_compiler(connection=connection)
    sql, values = compiler.as_sql()
    places = tuple(place for place, value in enumerate(values) if varies(value))
    converters = compiler.get_converters([expression for expression, *_ in compiler.select])
    in_order = tuple((place, tuple(found), of) for place, (found, of) in sorted(converters.items()))
    return _Compiled(sql, tuple(values), places, in_order)


def _fetched(compiled: _Compiled, values: list[Any], connection: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(compiled.sql, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return _converted(found, compiled, connection)


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
