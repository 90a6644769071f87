"""Faults while checks run through a real nginx: no wrong user gets in, and all recovers by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from authgate.models import AuditEvent, GateSession, SignIn
from tests.faults.site import Load, Site
from tests.feed.cluster import Cluster
from tests.front.serving import (
    Cast,
    Database,
    Portal,
    cast,
    eventually,
    free_port,
    program,
    signed_in,
    unused_code,
)
from tests.own_database import create_database_in

GRACE = 4


class Stage:
    """Portal, site and users. alice may open the page; bob and a client with an unknown cookie may not."""

    def __init__(self, portal: Portal, site: Site, people: Cast) -> None:
        self.portal, self.site, self.people = portal, site, people
        self.cookies = {"alice": people.alice_cookie, "bob": people.bob_cookie, "nobody": "__Host-ikd_gate=x"}

    def load(self) -> Load:
        return Load(self.site, self.cookies)

    def is_open(self) -> bool:
        return self.site.ask(self.people.alice_cookie) == 200

    def only_alice_got_in(self, load: Load) -> bool:
        others = load.statuses("bob") + load.statuses("nobody")
        return len(others) > 20 and 200 not in others


def staged(database: Database, folder: Path, **settings: str) -> Iterator[Stage]:
    people = cast()
    workers = int(settings.pop("workers", "2"))
    portal = Portal(folder, database, workers=workers, **{"IKD_STALE_GRACE": str(GRACE), **settings})
    try:
        site = Site(folder, portal.start())
        try:
            stage = Stage(portal, site, people)
            assert eventually(stage.is_open)
            yield stage
        finally:
            site.stop()
    finally:
        portal.stop()


@pytest.fixture
def stage(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    database = Database(create_database_in(tmp_path))
    with django_db_blocker.unblock(), database.connected():
        yield from staged(database, tmp_path)


@pytest.fixture
def on_postgresql(
    cluster: Cluster, tmp_path: Path, django_db_blocker: DjangoDbBlocker, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    database = cluster.database(f"f{uuid.uuid4().hex}", "pattern")
    with django_db_blocker.unblock(), database.connected():
        yield from staged(database, tmp_path, **getattr(request, "param", {}))


@pytest.mark.parametrize("how_many", ["one", "all"])
def test_a_killed_worker_loses_only_the_requests_that_it_was_answering(how_many: str, stage: Stage) -> None:
    with stage.load() as load:
        time.sleep(0.5)
        for worker in stage.portal.workers()[: 1 if how_many == "one" else None]:
            os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        time.sleep(0.3)
        assert eventually(stage.is_open, 10)
        open_again = time.monotonic()
        time.sleep(0.5)

    assert stage.only_alice_got_in(load)
    assert set(load.statuses("alice", until=killed - 0.1)) == {200}
    assert set(load.statuses("alice", since=open_again + 0.3)) == {200}
    assert set(load.statuses("alice")) <= {200, 500, 502, 504}
    assert SignIn.objects.filter(ended_at=None).count() == 2


def test_a_user_disabled_while_all_workers_are_dead_stays_out(stage: Stage) -> None:
    for worker in stage.portal.workers():
        os.kill(worker, signal.SIGKILL)
    stage.people.alice.groups.clear()

    assert eventually(lambda: stage.site.ask(stage.people.alice_cookie) == 403, 10)


def test_last_seen_survives_a_graceful_end(stage: Stage) -> None:
    sign_in = SignIn.objects.get(user=stage.people.alice)
    long_ago = sign_in.started_at.replace(year=2020)
    time.sleep(1.3)
    SignIn.objects.update(last_seen_at=long_ago)
    assert stage.is_open()

    stage.portal.stop()

    sign_in.refresh_from_db()
    assert (sign_in.last_seen_at - sign_in.started_at).total_seconds() > -15


def test_while_the_database_hangs_memory_answers_and_then_503(on_postgresql: Stage, cluster: Cluster) -> None:
    with on_postgresql.load() as load:
        time.sleep(0.5)
        try:
            cluster.suspend()
            suspended = time.monotonic()
            time.sleep(GRACE + 4)
        finally:
            cluster.resume()
        assert eventually(on_postgresql.is_open, 15)
        open_again = time.monotonic()
        time.sleep(1)

    assert on_postgresql.only_alice_got_in(load)
    assert 200 in load.statuses("alice", since=suspended + 3, until=suspended + GRACE)
    assert set(load.statuses("alice", since=suspended + GRACE + 0.5, until=suspended + GRACE + 3.5)) == {500}
    assert set(load.statuses("alice", since=open_again + 0.5)) == {200}


@pytest.mark.parametrize("on_postgresql", [{"IKD_STALE_GRACE": "30"}], indirect=True)
def test_the_front_answers_while_the_database_hangs(on_postgresql: Stage, cluster: Cluster) -> None:
    """Before the database counts as hanging, checks that need it take every thread."""
    cookies = {f"cold {number}": f"__Host-ikd_gate=cold-{number}" for number in range(10)}
    cookies["alice"] = on_postgresql.people.alice_cookie
    cluster.suspend()
    try:
        suspended = time.monotonic()
        with Load(on_postgresql.site, cookies) as load:
            time.sleep(8)
    finally:
        cluster.resume()

    late = [answer for answer in load.answers if answer[0] > suspended + 4]
    # Rarely, a check arrives while uvicorn still finishes the previous answer on the connection.
    slow = [answered - asked for asked, answered, *_ in late if answered - asked >= 1]
    assert 200 in load.statuses("alice", since=suspended + 4)
    assert len(slow) < len(late) / 100
    assert {500} == set(load.statuses("cold 1", since=suspended + 4, until=suspended + 8))
    assert eventually(on_postgresql.is_open, 15)
    assert 200 not in {status for *_, name, status in load.answers if name != "alice"}


@pytest.mark.parametrize("on_postgresql", [{"workers": "1", "IKD_STALE_GRACE": "0"}], indirect=True)
def test_a_hanging_connection_is_closed_and_opened_again(on_postgresql: Stage, cluster: Cluster) -> None:
    """Its backend is stopped: the kernel acknowledges packets, and no answer ever comes."""
    assert on_postgresql.is_open()
    backends = readers_of(connection.settings_dict["NAME"], cluster)
    assert backends
    try:
        for backend in backends:
            os.kill(backend, signal.SIGSTOP)
        stopped = time.monotonic()
        assert eventually(lambda: not on_postgresql.is_open(), 10)

        assert eventually(on_postgresql.is_open, 30)
        assert time.monotonic() - stopped < 25
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)


def readers_of(name: str, cluster: Cluster) -> list[int]:
    """Return the backends that read the change feed for the portal."""
    rows = cluster.rows(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE '%pg_snapshot_xmin%' "
        "AND pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in rows]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_database_that_stops_and_comes_back(number: int, on_postgresql: Stage, cluster: Cluster) -> None:
    with on_postgresql.load() as load:
        time.sleep(0.5)
        stopping = time.monotonic()  # on a busy machine, it takes seconds to end
        cluster.stop(number)
        gone = time.monotonic()
        time.sleep(GRACE + 2)
        cluster.start()
        assert eventually(on_postgresql.is_open, 15)
        open_again = time.monotonic()
        connection.close()
        on_postgresql.people.alice.groups.clear()
        time.sleep(1.5)

    assert on_postgresql.only_alice_got_in(load)
    assert 200 in load.statuses("alice", since=stopping + 1, until=stopping + GRACE - 0.5)
    assert set(load.statuses("alice", since=gone + GRACE + 0.5, until=gone + GRACE + 2)) == {500}
    assert set(load.statuses("alice", since=open_again + 1.2)) == {403}
    assert SignIn.objects.filter(ended_at=None).count() == 2


def test_a_database_restart_causes_no_error(on_postgresql: Stage, cluster: Cluster) -> None:
    with on_postgresql.load() as load:
        time.sleep(0.5)
        cluster.stop()
        cluster.start()
        time.sleep(1.5)

    assert on_postgresql.only_alice_got_in(load)
    assert set(load.statuses("alice")) == {200}


def test_with_a_read_only_database_checks_still_admit_and_refuse(
    on_postgresql: Stage, cluster: Cluster
) -> None:
    name = connection.settings_dict["NAME"]
    cluster.execute(
        f"ALTER DATABASE {name} SET default_transaction_read_only = on",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    with on_postgresql.load() as load:
        time.sleep(3)
    cluster.execute(
        f"ALTER DATABASE {name} RESET default_transaction_read_only",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    connection.close()
    User.objects.filter(pk=on_postgresql.people.alice.pk).update(is_active=False)

    assert on_postgresql.only_alice_got_in(load)
    first, later = load.statuses("alice")[:12], load.statuses("alice")[12:]
    assert 200 in first and later.count(200) == len(later) > 12, (
        "a cut connection costs the first moment alone"
    )
    assert eventually(lambda: on_postgresql.site.ask(on_postgresql.people.alice_cookie) == 401, 5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root alone")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def on_small_disk(
    small_disk: Path, pattern: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Stage]:
    shutil.copy(pattern, small_disk / "ikd.sqlite3")
    database = Database(f"sqlite:///{small_disk / 'ikd.sqlite3'}")
    with django_db_blocker.unblock(), database.connected():
        yield from staged(database, tmp_path)


def test_with_a_full_disk_users_stay_in_and_others_stay_out(on_small_disk: Stage, small_disk: Path) -> None:
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    cold = {"carol": "__Host-ikd_gate=carol"}
    with on_small_disk.load() as load, Load(on_small_disk.site, cold) as others:
        time.sleep(3)
    filler.unlink()

    assert on_small_disk.only_alice_got_in(load)
    assert set(load.statuses("alice")) == {200}
    assert 200 not in others.statuses("carol")
    before = AuditEvent.objects.filter(kind="refused").count()
    on_small_disk.site.ask(on_small_disk.people.bob_cookie)
    assert eventually(lambda: AuditEvent.objects.filter(kind="refused").count() > before)
    on_small_disk.people.alice.groups.clear()
    assert eventually(lambda: on_small_disk.site.ask(on_small_disk.people.alice_cookie) == 403, 3)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[list[str], int]]:
    """Return the command of a Redis, and its port."""
    port = free_port()
    yield (
        [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        port,
    )


def test_when_redis_is_killed_sessions_stay_and_strangers_stay_out(
    redis: tuple[list[str], int], tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    command, port = redis
    database = Database(create_database_in(tmp_path))
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    with django_db_blocker.unblock(), database.connected():
        try:
            for stage in staged(database, tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}/0"):
                with stage.load() as load:
                    time.sleep(0.3)
                    server.kill()
                    server.wait(5)
                    time.sleep(0.7)
                    cold = stage.site.ask(signed_in(stage.people.alice))
                    with stage.portal.connect() as proxy:
                        code = proxy.check(
                            path=f"/?ikdcode={unused_code()}",
                            check="/authgate/traefik",
                            Sec_Fetch_Mode="navigate",
                        )

                assert stage.only_alice_got_in(load)
                assert set(load.statuses("alice")) == {200}
                assert (cold, code.status) == (200, 503)
                assert GateSession.objects.count() == 3
        finally:
            server.kill()
            server.wait(5)
