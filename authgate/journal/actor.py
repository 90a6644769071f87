"""The author of a change, for the journal. The database receives it just before each writing statement.

PostgreSQL stores the author in a setting of the transaction. SQLite stores it in a row that is deleted after
the statement. So a change never gets the author of another. On SQLite, an INSERT outside of a transaction has
no author, because its result may still be open when that row must be deleted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest, HttpResponse

from authgate.journal.tables import CONTEXT, TABLES

THE_PORTAL = "the portal"
"""The author if no user is signed in. No username contains a space."""

_WRITES = re.compile(
    rf"\s*(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE|DELETE\s+FROM)\s+"
    rf'"?(?:{"|".join(table.name for table in TABLES)})"?(?![\w])',
    re.IGNORECASE,
)
_LEFT_OUT = {table.name: "|".join(sorted(table.left_out)) for table in TABLES if table.left_out}
_JOURNALS_NOTHING = re.compile(
    "|".join(
        rf'UPDATE "{table}" SET (?:"(?:{columns})" = (?:%s|NULL)(?:, )?)+ WHERE '  # noqa: S608 (a pattern)
        for table, columns in _LEFT_OUT.items()
    )
)
"""Matches a change of columns that are not in the journal, such as a user's last sign-in."""

_INSERTS = re.compile(r"\s*INSERT", re.IGNORECASE)


@dataclass(slots=True)
class _Acting:
    name: Callable[[], str]
    number: int = field(default_factory=lambda: secrets.randbits(52))


_acting: ContextVar[_Acting | None] = ContextVar("journal_actor", default=None)


@contextmanager
def acting(name: Callable[[], str]) -> Iterator[None]:
    """Set the author of all changes in the `with` block. `name` is called when a change is made."""
    token = _acting.set(_Acting(name))
    try:
        yield
    finally:
        _acting.reset(token)


@contextmanager
def nobody_acting() -> Iterator[None]:
    """Set no author in the `with` block. Migrations need this before they have created the journal."""
    token = _acting.set(None)
    try:
        yield
    finally:
        _acting.reset(token)


def acting_as_command(arguments: list[str]) -> AbstractContextManager[None]:
    """Set a management command as the author of its changes. `migrate` has none: it creates the journal."""
    if arguments[:1] == ["migrate"]:
        return nullcontext()
    return acting(lambda: " ".join(["manage.py", *arguments[:1]]))


class JournalMiddleware:
    """Sets the signed-in user as the author of a request's changes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with acting(lambda: request.user.get_username() or THE_PORTAL):
            return self.get_response(request)


def watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Send the author of each change to a connection's database. Receives the signal `connection_created`."""
    if _send_author not in connection.execute_wrappers:
        connection.execute_wrappers.append(_send_author)


def _send_author(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    acts = _acting.get()
    if acts is None or not isinstance(sql, str) or not _WRITES.match(sql) or _JOURNALS_NOTHING.match(sql):
        return execute(sql, params, many, context)
    connection: BaseDatabaseWrapper = context["connection"]
    is_sqlite = connection.vendor == "sqlite"
    if is_sqlite and not connection.in_atomic_block and _INSERTS.match(sql):
        return execute(sql, params, many, context)
    with nullcontext() if connection.in_atomic_block else transaction.atomic(connection.alias):
        if is_sqlite:
            return _on_sqlite(connection, acts, lambda: execute(sql, params, many, context))
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('ikd.actor', %s, true)", [acts.name()[:150]])
        return execute(sql, params, many, context)


def _on_sqlite(connection: BaseDatabaseWrapper, acts: _Acting, write: Callable[[], Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT OR REPLACE INTO {CONTEXT} (id, actor, number) VALUES (1, %s, %s)",  # noqa: S608
            [acts.name()[:150], acts.number],
        )
        try:
            return write()
        finally:
            cursor.execute(f"DELETE FROM {CONTEXT} WHERE id = 1")  # noqa: S608
