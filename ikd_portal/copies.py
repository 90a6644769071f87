"""Copies of the whole database. A backup is a SQLite file, even of a PostgreSQL database.

`copy_rows` copies every row from one database to another in one transaction. `backup` copies into a new file,
`restore` copies a file into the portal's database, and `move` copies to another database.

Copies leave out the change feed, leases, and the tables of codes and limits, which make sense only in their
own database and at their time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler
from django.utils import timezone

from accounts.models import PortalSession, RememberedDevice, User
from authgate.journal import triggers as journal
from authgate.journal.actor import nobody_acting
from authgate.journal.gaps import note_restored
from authgate.models import Change, JournalContext, JournalEntry, Lease, SignIn
from authgate.worker import triggers
from ikd_portal.settings import database as settings_of

COPY = "copy"
LEFT_OUT = (Change, Lease, JournalContext)
ROWS_AT_ONCE = 500


class NotCopied(Exception):
    """Why a copy failed, in one line that says how to fix it."""


def backup(path: Path) -> None:
    """Write every row to a new SQLite file while the portal runs. Raises NotCopied.

    Only the calling user can read the file. After an error there is no partial file.
    """
    if path.exists():
        raise NotCopied(f"{path} exists: choose another name.")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if connection.vendor == "sqlite":
            _copy_file(draft)
        else:
            with opened(f"sqlite:///{draft}"), _snapshot("default"):
                copy_rows("default", COPY)
        _merge_log(draft)
        draft.rename(path)
    except OSError as error:
        raise NotCopied(f"{error.strerror}: {error.filename}") from None
    finally:
        draft.unlink(missing_ok=True)


def _copy_file(target: Path) -> None:
    """Copy SQLite's file by its online backup."""
    connection.ensure_connection()
    with closing(sqlite3.connect(target)) as copy:
        connection.connection.backup(copy)


def _merge_log(file: Path) -> None:
    """Merge a file's write-ahead log into the file."""
    with closing(sqlite3.connect(file)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")


def restore(path: Path, folder: Path, *, keep_sessions: bool) -> None:
    """Replace every row of the portal's database by the rows of a backup, in one transaction.

    A backup of an earlier version is first migrated in `folder`. Raises NotCopied.
    """
    draft = folder / f".restored.{os.getpid()}.sqlite3"
    try:
        _read_backup(path, draft)
        with opened(f"sqlite:///{draft}"), transaction.atomic():
            copy_rows(COPY, "default")
            if not keep_sessions:
                end_sessions()
            _compare_unless_ended(keep_sessions)
            note_restored()
    finally:
        for ending in ("", "-wal", "-shm"):
            Path(f"{draft}{ending}").unlink(missing_ok=True)


def _read_backup(path: Path, draft: Path) -> None:
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(draft)) as target:
            source.execute("SELECT count(*) FROM accounts_user").fetchone()
            source.backup(target)
    except sqlite3.Error as error:
        raise NotCopied(f"{path} is no backup of the portal: {error}.") from None


def _compare_unless_ended(keep_sessions: bool) -> None:
    if keep_sessions and (differing := differences(COPY, "default")):
        raise NotCopied(f"These tables differ after the copy: {', '.join(differing)}.")


def end_sessions() -> None:
    """End every sign-in with its gate sessions and grants. Delete portal sessions and remembered devices.

    Users may have signed out, or have been disabled, after the backup was made.
    """
    SignIn.objects.filter(ended_at=None).update(ended_at=timezone.now(), session_digest=None)
    PortalSession.objects.all().delete()
    RememberedDevice.objects.all().delete()


def move(url: str) -> None:
    """Copy every row to an empty database and compare all rows. Raises NotCopied."""
    with opened(url):
        if User.objects.using(COPY).exists():
            raise NotCopied("The other database has users: choose an empty one.")
        with _snapshot("default"), transaction.atomic(COPY):
            copy_rows("default", COPY)
            if differing := differences("default", COPY):
                raise NotCopied(f"These tables differ after the copy: {', '.join(differing)}.")


# ---- rows -------------------------------------------------------------------------------------------------


def copied_models() -> list[type[models.Model]]:
    """Return every model with its own table, including the tables of many-to-many fields."""
    found = apps.get_models(include_auto_created=True)
    return [each for each in found if each._meta.managed and not each._meta.proxy and each not in LEFT_OUT]


def copy_rows(source: str, target: str) -> None:
    """Replace all rows of `target` by the rows of `source`. The caller must have opened a transaction."""
    to, tables = connections[target], copied_models()
    with journal.passing(target), _unconstrained(to), to.cursor() as cursor:
        for model in tables:
            cursor.execute(f"DELETE FROM {to.ops.quote_name(model._meta.db_table)}")  # noqa: S608
        # Triggers wrote these during the deletion. No client must be notified of the end of rows that come
        # back.
        cursor.execute("DELETE FROM openid_logoutdelivery")
        for model in tables:
            if model is not JournalEntry:
                _copy_table(model, source, to, cursor)
        # Triggers journaled all of this. Replace it by the journal of the source.
        cursor.execute(f"DELETE FROM {JournalEntry._meta.db_table}")  # noqa: S608
        _copy_table(JournalEntry, source, to, cursor)
        for statement in to.ops.sequence_reset_sql(no_style(), tables):
            cursor.execute(statement)
    triggers.forget_everything(target)


def _copy_table(model: type[models.Model], source: str, to: BaseDatabaseWrapper, cursor: Any) -> None:
    fields = model._meta.concrete_fields
    columns = ", ".join(to.ops.quote_name(str(field.column)) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    insert = f"INSERT INTO {to.ops.quote_name(model._meta.db_table)} ({columns}) VALUES ({marks})"  # noqa: S608
    found = rows_of(model, source)
    while batch := list(islice(found, ROWS_AT_ONCE)):
        cursor.executemany(
            insert,
            [
                [field.get_db_prep_save(value, to) for field, value in zip(fields, row, strict=True)]
                for row in batch
            ],
        )


def rows_of(model: type[models.Model], using: str) -> Iterator[tuple[Any, ...]]:
    names = [field.attname for field in model._meta.concrete_fields]
    return model._base_manager.using(using).order_by("pk").values_list(*names).iterator(ROWS_AT_ONCE)


def differences(one: str, other: str) -> list[str]:
    """Return the tables in which any column of any row differs."""
    return [model._meta.db_table for model in copied_models() if _digest(model, one) != _digest(model, other)]


def _digest(model: type[models.Model], using: str) -> str:
    """Return a digest of all rows, sorted by Python, because databases sort differently."""
    fields = model._meta.concrete_fields
    rows = (
        hashlib.sha256(
            repr([_plain(field, value) for field, value in zip(fields, row, strict=True)]).encode()
        )
        for row in rows_of(model, using)
    )
    return hashlib.sha256(b"".join(sorted(row.digest() for row in rows))).hexdigest()


def _plain(field: models.Field[Any, Any], value: Any) -> str:
    """Return a value as text that is equal for both databases."""
    if isinstance(field, models.BinaryField):
        return bytes(value).hex() if value is not None else "None"
    if isinstance(field, models.JSONField):
        return json.dumps(value, sort_keys=True)  # PostgreSQL does not keep the order of names
    return str(field.get_prep_value(value))


# ---- databases --------------------------------------------------------------------------------------------


@contextmanager
def opened(url: str) -> Iterator[None]:
    """Open another database under the alias `COPY`, migrated to this version."""
    config = ConnectionHandler().configure_settings({"default": {}, COPY: settings_of(url)})[COPY]
    connections.settings[COPY] = config
    try:
        with nobody_acting():
            call_command("migrate", database=COPY, interactive=False, verbosity=0)
            call_command("createcachetable", database=COPY, verbosity=0)
        yield
    finally:
        connections[COPY].close()
        del connections[COPY]
        del connections.settings[COPY]


@contextmanager
def _snapshot(using: str) -> Iterator[None]:
    """Read all rows from one snapshot."""
    with transaction.atomic(using):
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def _unconstrained(to: BaseDatabaseWrapper) -> Iterator[None]:
    """Check foreign keys at the end, so that tables can be filled in any order."""
    with to.cursor() as cursor:
        if to.vendor == "sqlite":
            cursor.execute("PRAGMA defer_foreign_keys = ON")
        else:
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    yield
    to.check_constraints()
