"""Reading the feed misses no change, in whatever order transactions commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from authgate.models import Change
from authgate.worker.change_readers import PostgresqlReader, SqliteReader, reader_for
from tests.front.serving import Cast, Database

on_postgresql = pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)


@pytest.fixture
def reader(database: Database) -> SqliteReader | PostgresqlReader:
    """A reader that has read once, so it knows its position in the feed."""
    reader = reader_for(connection.vendor)
    read(reader)
    return reader


def read(reader: SqliteReader | PostgresqlReader) -> list[tuple[str, int | None]] | None:
    """Return what a read of the feed reports, None for "everything"."""
    with connection.cursor() as cursor:
        found = reader.read(cursor)
    return None if found.everything else list(found.rows)


class Elsewhere:
    """A transaction in a separate thread with a separate connection."""

    def __init__(self, key: int) -> None:
        self._key = key
        self._written, self._commit = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        from django.db import transaction

        with transaction.atomic():
            write(self._key)
            self._written.set()
            assert self._commit.wait(60)
        connection.close()

    def begin(self) -> None:
        self._thread.start()
        assert self._written.wait(60)

    def commit(self) -> None:
        self._commit.set()
        self._thread.join(10)


@contextmanager
def elsewhere(key: int) -> Iterator[Elsewhere]:
    transaction = Elsewhere(key)
    transaction.begin()
    try:
        yield transaction
    finally:
        transaction.commit()


def write(key: int) -> None:
    with connection.cursor() as cursor:
        now = "pg_current_xact_id()::text::bigint" if connection.vendor == "postgresql" else "NULL"
        cursor.execute(
            f"INSERT INTO authgate_change (kind, key, transaction_id) VALUES ('user', %s, {now})", [key]
        )


def test_the_first_reading_reports_everything_as_changed(database: Database) -> None:
    assert read(reader_for(connection.vendor)) is None


def test_each_change_is_reported_once(reader: SqliteReader | PostgresqlReader) -> None:
    write(1)
    write(2)

    assert read(reader) == [("user", 1), ("user", 2)]
    assert read(reader) == []


@on_postgresql
def test_a_change_that_commits_after_a_later_one_was_read_is_reported(reader: PostgresqlReader) -> None:
    with elsewhere(1) as early:
        write(2)
        first = read(reader)
        early.commit()

    assert first == [("user", 2)]
    assert read(reader) == [("user", 1)]
    assert read(reader) == []


@on_postgresql
def test_a_change_is_reported_however_long_its_transaction_stayed_open(reader: PostgresqlReader) -> None:
    with elsewhere(1) as early:
        for key in range(2, 60):
            write(key)
            read(reader)
        early.commit()

    assert read(reader) == [("user", 1)]


@on_postgresql
def test_changes_of_a_long_transaction_are_not_deleted_unread(reader: PostgresqlReader) -> None:
    with elsewhere(1) as early:
        write(2)
        with connection.cursor() as cursor:
            mark = reader.mark(cursor)
        early.commit()

    with connection.cursor() as cursor:
        reader.cut(cursor, mark or 0)

    assert ("user", 1) in (read(reader) or [])


@on_postgresql
def test_older_transaction_numbers_mean_another_server(reader: PostgresqlReader) -> None:
    reader._oldest = 2**40

    assert read(reader) is None


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_a_reader_that_missed_deleted_changes_reads_everything(reader: SqliteReader) -> None:
    write(1)
    with connection.cursor() as cursor:
        mark = reader.mark(cursor)
        write(2)
        reader.cut(cursor, mark or 0)

    assert read(reader) is None


def test_an_emptied_feed_counts_as_everything_changed_once(
    reader: SqliteReader | PostgresqlReader, people: Cast, vendor: str
) -> None:
    read(reader)
    Change.objects.all().delete()
    first = read(reader)
    write(5)

    assert first is None or vendor == "postgresql"
    assert read(reader) == [("user", 5)]
