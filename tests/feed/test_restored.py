"""When a database is restored or replaced while the portal runs, memory is forgotten at once."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection

from authgate.models import GateSession
from authgate.worker import loader, stale_connections
from authgate.worker.feed import Feed, Source
from tests.feed.bouncer import Bouncer
from tests.feed.cluster import Cluster
from tests.feed.conftest import Clock
from tests.feed.test_freshness import digest_of, remember
from tests.front.serving import Cast, Database, eventually, program, signed_in

Restore = Callable[[], None]
on_postgresql = pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def forget_database_files() -> Iterator[None]:
    """Forget the database file that another test used."""
    stale_connections.forget()
    yield
    stale_connections.forget()


def restored_from_a_dump(database: Database) -> Restore:
    dumped = dump(database, "--clean")
    return lambda: run_sql(database, dumped)


def restored_data_only(database: Database) -> Restore:
    dumped = dump(database, "--data-only", "--disable-triggers")
    tables = ", ".join(connection.introspection.table_names())
    emptied = f"SET session_replication_role = replica; TRUNCATE {tables};\n".encode()
    return lambda: run_sql(database, emptied + dumped)


def dump(database: Database, *options: str) -> bytes:
    return subprocess.run(
        [program("pg_dump", "postgresql-client"), *options, database.url], check=True, capture_output=True
    ).stdout


def run_sql(database: Database, sql: bytes) -> None:
    command = [program("psql", "postgresql-client"), "-q", "-1", "-v", "ON_ERROR_STOP=1", database.url]
    subprocess.run(command, input=sql, check=True, capture_output=True)


@on_postgresql
@pytest.mark.parametrize("way", [restored_from_a_dump, restored_data_only])
def test_the_next_reading_forgets_a_session_that_is_missing_in_the_restored_dump(
    way: Callable[[Database], Restore], feed: Feed, clock: Clock, database: Database, people: Cast
) -> None:
    restore = way(database)
    cookie = signed_in(people.alice)
    digest = remember(feed, cookie)
    remember(feed, people.alice_cookie)
    restore()
    clock.added += 1

    source = feed.ensure_fresh()

    assert source is Source.MEMORY
    assert len(feed.memory) == 0
    assert loader.load_session(digest) is None
    assert loader.load_session(digest_of(people.alice_cookie)) is not None


@on_postgresql
def test_after_a_restore_that_drops_the_tables_first_memory_is_not_used(
    feed: Feed, clock: Clock, database: Database, people: Cast
) -> None:
    """Not even for IKD_STALE_GRACE: this database can be read, so the grace does not apply."""
    remember(feed, people.alice_cookie)
    run_sql(database, b"DROP TABLE authgate_change")
    clock.added += 1

    assert feed.ensure_fresh() is Source.DATABASE


@pytest.fixture
def bouncer(cluster: Cluster, database: Database) -> Iterator[Bouncer]:
    bouncer = Bouncer(cluster, connection.settings_dict["NAME"], size=2)
    try:
        yield bouncer
    finally:
        bouncer.stop()


@on_postgresql
def test_a_pooler_that_leads_to_an_older_copy_is_noticed(
    bouncer: Bouncer, feed: Feed, clock: Clock, cluster: Cluster, people: Cast
) -> None:
    name = connection.settings_dict["NAME"]
    connection.close()
    cluster.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    cluster.database(f"{name}_older", name)
    with bouncer.database.connected():
        digest = remember(feed, signed_in(people.alice))
        bouncer.lead_to(f"{name}_older")
        assert eventually(lambda: not GateSession.objects.filter(token_digest=digest).exists())
        clock.added += 1

        source = feed.ensure_fresh()

        assert source is Source.MEMORY
        assert len(feed.memory) == 0


# ---- SQLite -----------------------------------------------------------------------------------------------


@pytest.fixture
def backup(database: Database, people: Cast, tmp_path: Path) -> Path:
    """An older copy of a database with a write-ahead log, like the portal's own."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")
    backup = tmp_path / "backup.sqlite3"
    with closing(sqlite3.connect(backup)) as copy, closing(sqlite3.connect(path_of_database())) as original:
        original.backup(copy)
    return backup


def path_of_database() -> Path:
    return Path(connection.settings_dict["NAME"])


def log_of_database() -> Path:
    return path_of_database().with_name(f"{path_of_database().name}-wal")


def moved(backup: Path) -> None:
    backup.replace(path_of_database())


def restored_by_sqlite(backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as copy, closing(sqlite3.connect(path_of_database())) as original:
        copy.backup(original)


@on_sqlite
@pytest.mark.parametrize("put_back", [moved, restored_by_sqlite])
def test_an_older_file_moved_into_place_is_read_from_then_on(
    put_back: Callable[[Path], None], feed: Feed, clock: Clock, people: Cast, backup: Path
) -> None:
    digest = remember(feed, signed_in(people.alice))
    remember(feed, people.alice_cookie)
    put_back(backup)
    clock.added += 1

    source = feed.ensure_fresh()

    assert source is Source.MEMORY
    assert len(feed.memory) == 0
    assert loader.load_session(digest) is None
    assert loader.load_session(digest_of(people.alice_cookie)) is not None


@on_sqlite
def test_writes_after_a_file_was_moved_into_place_go_to_that_file(
    feed: Feed, people: Cast, backup: Path
) -> None:
    """The log of the earlier file is not replayed, and closing that file does not remove the new log."""
    signed_in(people.alice)
    feed.ensure_fresh()
    moved(backup)
    stale_connections.close_stale()

    cookie = signed_in(people.bob)
    stale_connections.forget()
    connection.close()

    with closing(sqlite3.connect(path_of_database())) as other:
        digests = {row[0] for row in other.execute("SELECT token_digest FROM authgate_gatesession")}
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert digest_of(cookie) in digests
    assert len(digests) == 3


@on_sqlite
def test_a_log_that_began_after_the_last_check_is_not_replayed(people: Cast, backup: Path) -> None:
    connection.close()
    stale_connections.close_stale()
    assert not log_of_database().exists()
    cookie = signed_in(people.alice)
    assert log_of_database().stat().st_size
    moved(backup)

    stale_connections.close_stale()

    assert loader.load_session(digest_of(cookie)) is None
    assert loader.load_session(digest_of(people.alice_cookie)) is not None
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@on_sqlite
def test_a_log_that_began_before_the_first_check_is_not_replayed(people: Cast, backup: Path) -> None:
    connection.close()
    stale_connections.forget()
    cookie = signed_in(people.alice)
    assert log_of_database().stat().st_size
    moved(backup)

    stale_connections.close_stale()

    assert loader.load_session(digest_of(cookie)) is None
    assert loader.load_session(digest_of(people.alice_cookie)) is not None


@on_sqlite
def test_a_file_overwritten_while_it_is_open_admits_no_user(
    feed: Feed, clock: Clock, people: Cast, backup: Path
) -> None:
    """SQLite then reads a mixture of both files. Only a restart of the portal helps."""
    remember(feed, signed_in(people.alice))
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    clock.added += 1
    feed.ensure_fresh()
    shutil.copyfile(backup, path_of_database())
    clock.added += 1

    source = feed.ensure_fresh()

    assert source is not Source.MEMORY
    with pytest.raises(stale_connections.Overwritten, match="Stop the portal"):
        stale_connections.close_stale()


@on_sqlite
def test_a_checkpoint_does_not_look_like_another_database(
    feed: Feed, clock: Clock, people: Cast, backup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        signed_in(people.alice)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        clock.added += 1
        assert feed.ensure_fresh() is Source.MEMORY

    assert "replaced" not in caplog.text
