"""The database is busy or full, or Redis is down: pages say 503 and the true reason, and all recovers."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from ikd_portal import settings as own_settings
from tests.factories import PASSWORD
from tests.faults.browser import Browser
from tests.feed.cluster import Cluster
from tests.front.serving import WIKI, Database, Portal, Reply, cast, eventually, free_port, program, signed_in
from tests.own_database import create_database_in

SIGNED_IN = 302


@contextmanager
def started(
    database: Database, folder: Path, blocker: DjangoDbBlocker, workers: int = 1, **settings: str
) -> Iterator[Portal]:
    """Run a portal with the cast. Codes and limits are in the database, unless settings name a Redis."""
    hashers = override_settings(PASSWORD_HASHERS=own_settings.PASSWORD_HASHERS)
    with blocker.unblock(), database.connected(), hashers:  # the server's hasher, not the tests' cheap one
        cast()
    portal = Portal(folder, database, workers=workers, **{"REDIS_URL": "", **settings}).start()
    try:
        yield portal
    finally:
        portal.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with a few megabytes, or an ordinary folder if this user cannot mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", folder], capture_output=True)
    try:
        yield folder
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def portal(disk: Path, pattern: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Portal]:
    shutil.copy(pattern, disk / "ikd.sqlite3")
    database = Database(f"sqlite:///{disk / 'ikd.sqlite3'}")
    with started(database, tmp_path, django_db_blocker) as portal:
        yield portal


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the write lock, as a backup or another program may."""
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def names_reason(reply: Reply, reason: str) -> bool:
    """Return whether a page names the true reason, when and how to try again, and nothing else."""
    page = reply.body.decode()
    is_right = reason in page and ">Try again</a>" in page and "Reference:" in page
    return reply.status == 503 and is_right and reply.header("retry-after") != "" and "many" not in page


def test_while_another_program_locks_the_database_pages_say_so(portal: Portal, disk: Path) -> None:
    alice, bob = Browser(portal), Browser(portal)
    assert alice.sign_in("alice", PASSWORD).status == SIGNED_IN
    way = alice.continue_to(WIKI)
    began = time.monotonic()
    with locked(disk / "ikd.sqlite3"):
        reading = alice.get("/")
        signing_in = bob.sign_in("bob", PASSWORD)
        handing_over = alice.get(way)
        readiness = bob.get("/readyz")
    took = time.monotonic() - began

    assert reading.status == 200
    assert names_reason(signing_in, "another program is writing to it")
    assert names_reason(handing_over, "another program is writing to it")
    assert (readiness.status, b"another program" in readiness.body) == (503, True)
    assert took < 25  # three waits of five seconds; the first one alone took that long before
    assert bob.sign_in("bob", PASSWORD).status == SIGNED_IN
    assert "ikdcode=" in alice.get(way).header("location")
    assert eventually(lambda: bob.get("/readyz").status == 200)


def test_while_the_disk_is_full_pages_say_so(portal: Portal, disk: Path) -> None:
    if not disk.is_mount():
        pytest.skip("a small file system can be mounted by root alone")
    alice = Browser(portal)
    assert alice.sign_in("alice", PASSWORD).status == SIGNED_IN
    way = alice.continue_to(WIKI)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)

    signing_in = Browser(portal).sign_in("bob", PASSWORD)
    handing_over = alice.get(way)

    assert names_reason(signing_in, "disk is full")
    assert names_reason(handing_over, "disk is full")
    assert eventually(lambda: b"full" in alice.get("/readyz").body)
    assert alice.get("/").status == 200
    filler.unlink()
    assert Browser(portal).sign_in("bob", PASSWORD).status == SIGNED_IN
    assert "ikdcode=" in alice.get(way).header("location")


def test_while_postgresql_is_read_only_pages_say_so(
    cluster: Cluster, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    """This happens after a failover to a standby, or when an administrator makes the database read-only."""
    name = f"r{uuid.uuid4().hex}"
    database = cluster.database(name, "pattern")
    with started(database, tmp_path, django_db_blocker) as portal:
        alice = Browser(portal)
        assert alice.sign_in("alice", PASSWORD).status == SIGNED_IN
        way = alice.continue_to(WIKI)
        cut_off = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on", cut_off)
        assert eventually(lambda: alice.get("/").status == 200)

        handing_over, signing_in = alice.get(way), Browser(portal).sign_in("bob", PASSWORD)

        assert names_reason(handing_over, "read-only")
        assert names_reason(signing_in, "read-only")
        assert eventually(lambda: b"read-only" in alice.get("/readyz").body)
        cluster.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only", cut_off)
        assert eventually(lambda: Browser(portal).sign_in("bob", PASSWORD).status == SIGNED_IN)


def test_a_file_moved_over_the_database_is_used_within_a_second(
    pattern: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    """Users who signed in after the backup are signed out in both workers, and stay signed out."""
    shutil.copy(pattern, tmp_path / "ikd.sqlite3")
    database = Database(f"sqlite:///{tmp_path / 'ikd.sqlite3'}")
    with started(database, tmp_path, django_db_blocker, workers=2) as portal:
        file, backup = tmp_path / "ikd.sqlite3", tmp_path / "backup"
        with closing(sqlite3.connect(file)) as live, closing(sqlite3.connect(backup)) as copy:
            live.backup(copy)
        with django_db_blocker.unblock(), database.connected():
            cookie = signed_in(User.objects.get(username="alice"))
        assert all(portal.ask(cookie).status == 200 for _ in range(20))
        backup.replace(file)
        time.sleep(1)

        assert {portal.ask(cookie).status for _ in range(40)} == {401}
        assert Browser(portal).sign_in("alice", PASSWORD).status == SIGNED_IN
        with closing(sqlite3.connect(file)) as live:
            assert live.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert live.execute("SELECT count(*) FROM authgate_signin").fetchone() == (3,)


def test_while_redis_is_down_pages_say_so(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    database = Database(create_database_in(tmp_path))
    port = free_port()
    command = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        with started(database, tmp_path, django_db_blocker, REDIS_URL=url) as portal:
            alice = Browser(portal)
            assert eventually(lambda: alice.sign_in("alice", PASSWORD).status == SIGNED_IN)
            way = alice.continue_to(WIKI)
            code = alice.get(way).header("location").removeprefix(WIKI)
            assert "ikdcode=" in code
            server.kill()
            server.wait(5)

            handing_over, signing_in = alice.get(way), Browser(portal).sign_in("bob", PASSWORD)
            with portal.connect() as proxy:
                taking = proxy.check(
                    path=code, check="/authgate/traefik", Sec_Fetch_Mode="navigate", Accept="text/html"
                )

            assert names_reason(handing_over, "(Redis) does not answer")
            assert names_reason(signing_in, "(Redis) does not answer")
            assert names_reason(taking, "(Redis) does not answer")
            assert alice.get("/").status == 200
            assert eventually(lambda: b"Redis" in alice.get("/readyz").body)
            assert eventually(lambda: "pages get 503" in portal.log.read_text())
    finally:
        server.kill()
        server.wait(5)
