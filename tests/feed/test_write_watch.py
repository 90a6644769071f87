"""Background threads wait for a write, which SQLite's files or PostgreSQL's notifications show."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from authgate.worker import write_watch
from authgate.worker.feed import Feed
from authgate.worker.write_watch import Files, Notices
from openid import triggers
from tests.factories import UserFactory
from tests.feed.bouncer import Bouncer
from tests.feed.cluster import Cluster
from tests.front.serving import Database, eventually

on_postgresql = pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)

LONG = 300.0
"""Seconds for which a thread would wait. A test that waits that long fails by pytest's time limit."""


def change_a_user() -> None:
    UserFactory(groups=["staff"])


def queue_a_sign_out() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO openid_logoutdelivery "
            "(uri, audience, subject, sid, allow_private, created_at, due_at, tries, answer) "
            "VALUES ('x', 'x', 'x', 'x', %s, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0, '')",
            [False],
        )


WRITES = pytest.mark.parametrize("write", [change_a_user, queue_a_sign_out])


@pytest.fixture
def path(database: Database) -> Path:
    return Path(database.url.removeprefix("sqlite:///"))


@pytest.fixture
def settled(path: Path) -> Files:
    """Wait with a database that was not written for a while."""
    age(path)
    files = Files(path)
    assert files.wait(0)
    assert not files.wait(0)
    return files


def age(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        os.utime(each, (1, 1))


@on_sqlite
@WRITES
def test_a_write_to_the_file_ends_the_wait(settled: Files, write: Callable[[], None]) -> None:
    write()

    assert settled.wait(LONG)


@on_sqlite
def test_reading_the_file_does_not_end_the_wait(settled: Files, path: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM accounts_user")
    connection.close()

    assert not settled.wait(0)


@on_sqlite
def test_a_second_write_in_the_same_instant_is_not_missed(settled: Files, path: Path) -> None:
    change_a_user()
    assert settled.wait(LONG)

    assert settled.wait(0)  # nothing shows yet, but another write might leave the same times


@on_sqlite
def test_replacing_the_file_ends_the_wait(settled: Files, path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(path, tmp_path / "copy"))
    os.utime(copy, (1, 1))
    copy.replace(path)

    assert settled.wait(LONG)


@pytest.fixture
def notices(database: Database) -> Iterator[Notices]:
    """Listen on PostgreSQL, after the first test."""
    notices = Notices(triggers.missing)
    assert notices.wait(LONG)
    yield notices
    if notices._listening is not None:
        notices._listening.close()


@on_postgresql
@WRITES
def test_a_notice_ends_the_wait(notices: Notices, write: Callable[[], None]) -> None:
    assert not notices.wait(0)

    write()

    assert notices.wait(30)
    assert notices._listening is not None


@on_postgresql
def test_using_a_sign_in_sends_no_notice(notices: Notices, feed: Feed, people: object) -> None:
    notices.wait(1)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE authgate_signin SET last_seen_at = now()")

    assert not notices.wait(0.5)


@on_postgresql
def test_a_lost_connection_is_opened_again(
    notices: Notices, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(write_watch, "RETRY_EVERY", 0.0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [notices._listening.info.backend_pid])

    assert eventually(lambda: notices.wait(0.1) and "arrive again" in caplog.text)

    assert "asks twice a second" in caplog.text
    assert not notices.wait(0)


@on_postgresql
def test_a_silent_listener_is_noticed(notices: Notices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_watch, "TEST_WITHIN", 0.2)
    notices._listening.execute("UNLISTEN *")
    notices._test_at = time.monotonic()

    assert notices.wait(LONG)
    assert notices._listening is None
    assert notices.wait(LONG)  # half a second, because without notifications it polls


@on_postgresql
def test_missing_triggers_are_noticed(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER openid_delivery_waits ON openid_logoutdelivery")
    notices = Notices(triggers.missing)

    assert notices.wait(LONG)
    assert "openid_delivery_waits" in caplog.text
    assert notices._listening is None
    assert notices.wait(LONG)


def test_a_pooler_that_forgets_listen_is_noticed(
    cluster: Cluster,
    django_db_blocker: DjangoDbBlocker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(write_watch, "TEST_WITHIN", 0.5)
    cluster.database("forgets_listen", "pattern")
    bouncer = Bouncer(cluster, "forgets_listen", size=2)
    try:
        with django_db_blocker.unblock(), bouncer.database.connected():
            notices = Notices(triggers.missing)
            assert notices.wait(LONG)
            assert "asks twice a second" in caplog.text
            assert notices.wait(LONG)
    finally:
        bouncer.stop()
        cluster.drop("forgets_listen")
