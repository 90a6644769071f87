"""Prepared queries: the ORM compiles them once, and they run many times with other values.

The ORM needs more time to compile the query for sessions than SQLite needs to run it for 64 sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet

SIZES = (1, 4, 16, 64, 128, 256, 512)
"""Numbers of digests for which a query is compiled. A shorter list is filled up with its last digest."""

DIGEST_LENGTH = 32

Row = TypeVar("Row", bound=Model)


class _Conversion(NamedTuple):
    """The function that converts the values of a column, and whether it converts NULL too."""

    column: int
    convert: Callable[[Any], Any]
    takes_null: bool


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    sent: str
    """The SQL that the database receives. On SQLite, Django writes placeholders as question marks."""

    values: tuple[Any, ...]
    places: tuple[int, ...]
    """The positions of the digests among `values`."""

    conversions: tuple[_Conversion, ...]


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
    """A query with a few values that vary. `build` receives examples of them and returns a `values_list`.

    The examples show the types of the values and their positions in the query. No constant of the query may
    equal an example.
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
        """Return the compiled query, and the index of the value for each of its positions."""
        examples = [_adapted(example, connection) for example in self._examples]
        compiled = _compile(self._build(*self._examples), connection, lambda value: value in examples)
        which = tuple(examples.index(compiled.values[place]) for place in compiled.places)
        if set(which) != set(range(len(examples))):
            raise ValueError("a value has no place in the query")
        return compiled, which


class PreparedInsert:
    """An INSERT of a few rows of a model, compiled once for each number of rows. It sends no signals."""

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._compiled: dict[tuple[str, int], str] = {}

    def insert(self, *rows: Model) -> None:
        """Insert the rows with one query. A single row gets its primary key."""
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
    """Return the names of all columns of a model for `values_list`. `path` leads from the query to it."""
    return tuple(f"{path}{field.attname}" for field in model._meta.concrete_fields)


def instance_of(model: type[Row], values: Iterable[Any]) -> Row:
    """Return a model instance from the values of its columns, as a queryset would."""
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
    conversions = tuple(
        _conversion(column, partial(_call, converter, expression, connection), converter, connection)
        for column, (found, expression) in sorted(converters.items())
        for converter in found
    )
    return _Compiled(sql, _sent(sql, connection), tuple(values), places, conversions)


def _sent(sql: str, connection: Any) -> str:
    if connection.vendor != "sqlite":
        return sql
    with connection.cursor() as cursor:
        converted: str = cursor.cursor.convert_query(sql)
    return converted


def _call(converter: Callable[..., Any], expression: Any, connection: Any, value: Any) -> Any:
    return converter(value, expression, connection)


def _conversion(
    column: int, convert: Callable[[Any], Any], converter: Callable[..., Any], connection: Any
) -> _Conversion:
    """Return a function that converts like Django's converter, but faster if possible.

    Converters of `DatabaseOperations` leave NULL unchanged.
    """
    operations = connection.ops
    is_of_database = getattr(converter, "__self__", None) is operations
    if is_of_database and connection.vendor == "sqlite":
        if converter == operations.convert_booleanfield_value:
            return _Conversion(column, _BOOLEANS.__getitem__, False)
        if converter == operations.convert_datetimefield_value and connection.timezone is UTC:
            return _Conversion(column, partial(_in_utc, convert), False)
    return _Conversion(column, convert, not is_of_database)


class _Booleans(dict[Any, Any]):
    def __missing__(self, value: Any) -> Any:
        return value


_BOOLEANS = _Booleans({0: False, 1: True})
"""The booleans of SQLite's integers. Other values stay unchanged."""


def _in_utc(convert: Callable[[Any], Any], value: Any) -> Any:
    """Return a datetime without time zone in UTC; convert other values. SQLite's module reads no zones."""
    if value.__class__ is datetime and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return convert(value)


def _fetched(compiled: _Compiled, values: list[Any], connection: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # Django's own conversion takes longer, each time, than SQLite needs to load a session.
            cursor.cursor.convert_query = lambda sql, **_: compiled.sent
        cursor.execute(compiled.sql, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return _converted(found, compiled.conversions) if compiled.conversions else found


def _converted(rows: list[tuple[Any, ...]], conversions: tuple[_Conversion, ...]) -> list[tuple[Any, ...]]:
    converted = []
    for found in rows:
        row = list(found)
        for column, convert, takes_null in conversions:
            value = row[column]
            if value is not None or takes_null:
                row[column] = convert(value)
        converted.append(tuple(row))
    return converted
