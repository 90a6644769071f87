"""Bad days of two portals: no access beyond the grace, no lost session, and all recovers by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from accounts.models import User
from authgate.models import GateSession
from authgate.sign_ins import open_gate
from tests.factories import PASSWORD
from tests.feed.bouncer import Bouncer
from tests.feed.cluster import Cluster, Replica
from tests.feed.test_restored import dump, run_sql
from tests.front.serving import Database, Portal, begin, eventually
from tests.several.days import REPORT, Day, bad_day, says
from tests.several.stage import GRACE, Network, Several, kill, stopped
from tests.several.stores import Redis, Relay
from tests.several.test_across import browser_at, code_for, gate_cookie, use_code

pytestmark = [pytest.mark.proxy, pytest.mark.xdist_group("several")]

in_report = pytest.mark.skipif(REPORT not in os.environ, reason="takes long: run `make outages`")
LONG = GRACE + 1.5
SIGNED_IN = 302


def assert_survived(day: Day) -> None:
    """Assert the promises for a day."""
    assert (day.wrong, day.lost) == (0, 0), day.row()
    assert day.healthy_after >= 0 and day.ready_after >= 0, day.row()


def needs(network: Network | None) -> Network:
    if network is None:
        pytest.skip("a network namespace can be made by root alone")
    return network


def sign_in_at(portal: Portal, several: Several) -> int:
    return browser_at(portal, several).sign_in("alice", PASSWORD).status


def test_a_portal_is_cut_off_from_the_database(several: Several, network: Network | None) -> None:
    with bad_day(several, "One portal is cut off from PostgreSQL") as day:
        day.begin(without_database=True)
        with needs(network).cut_off_from(network.database):
            day.revoke()
            time.sleep(LONG)
            alone = several.portals["b"].ask(several.requests["alice"][0]["Cookie"], origin=several.origin)
        day.over()

    assert_survived(day)
    assert alone.status == 503
    assert day.unanswered == 0
    assert says(day, "change feed")


def test_a_portal_is_cut_off_from_redis(several: Several, network: Network | None) -> None:
    with bad_day(several, "One portal is cut off from Redis") as day:
        day.begin()
        with needs(network).cut_off_from(network.redis):
            day.revoke()
            apart, other = (sign_in_at(several.portals[name], several) for name in ("b", "a"))
        day.over()

    assert_survived(day)
    assert (apart, other) == (503, SIGNED_IN)
    assert day.unanswered == 0
    assert says(day, "redis")


@in_report
def test_a_portal_hangs(several: Several) -> None:
    with bad_day(several, "One portal is suspended (SIGSTOP) for 4 seconds") as day:
        day.begin()
        with stopped(several.portals["b"]):
            day.revoke()
            time.sleep(4)
        day.over()

    assert_survived(day)
    assert day.unanswered == 0


@in_report
def test_postgresql_hangs(several: Several, cluster: Cluster) -> None:
    with bad_day(several, f"PostgreSQL is suspended (SIGSTOP) for {LONG:.1f} seconds") as day:
        day.revoke()
        day.begin(without_database=True)
        cluster.suspend()
        try:
            time.sleep(LONG)
        finally:
            cluster.resume()
        day.over()

    assert_survived(day)
    assert says(day, "change feed")


@in_report
def test_redis_hangs(several: Several, redis: Redis) -> None:
    with bad_day(several, "Redis is suspended (SIGSTOP)") as day:
        day.begin()
        redis.send(signal.SIGSTOP)
        try:
            day.revoke()
            during = sign_in_at(several.portals["a"], several)
        finally:
            redis.send(signal.SIGCONT)
        day.over()

    assert_survived(day)
    assert (during, sign_in_at(several.portals["a"], several)) == (503, SIGNED_IN)
    assert day.unanswered == 0
    assert says(day, "redis")


def test_postgresql_is_killed_and_starts_again(several: Several, cluster: Cluster) -> None:
    with bad_day(several, "PostgreSQL is killed, and starts again after 1 second") as day:
        day.revoke()
        day.begin(without_database=True)
        cluster.stop(signal.SIGQUIT)
        time.sleep(1)
        cluster.start()
        day.over()
        connection.close()

    assert_survived(day)


def test_redis_is_killed_and_starts_again_empty(several: Several, redis: Redis) -> None:
    with bad_day(several, "Redis is killed, and starts again without its data") as day:
        day.begin()
        redis.stop(signal.SIGKILL)
        day.revoke()
        during = sign_in_at(several.portals["b"], several)
        redis.start()
        day.over()

    assert_survived(day)
    assert (during, sign_in_at(several.portals["b"], several)) == (503, SIGNED_IN)
    assert day.unanswered == 0


def test_redis_is_emptied_during_a_sign_in(several: Several, redis: Redis) -> None:
    browser = browser_at(several.portals["a"], several)
    assert browser.sign_in("alice", PASSWORD).status == SIGNED_IN
    code = code_for(browser, several)
    with bad_day(several, "Redis loses all data (FLUSHALL) during a sign-in") as day:
        day.begin()
        assert redis.ask("FLUSHALL") == "+OK"
        day.revoke()
        lost = use_code(several.portals["b"], several, browser, code)
        next_one = use_code(several.portals["b"], several, browser, code_for(browser, several))

    assert_survived(day)
    assert not gate_cookie(lost, several) and lost.status >= 300
    assert gate_cookie(next_one, several)
    assert day.unanswered == 0


@in_report
def test_a_portal_is_killed_and_starts_again(several: Several) -> None:
    with bad_day(several, "One portal is killed, and starts again") as day:
        day.begin()
        kill(several.portals["b"])
        day.revoke()
        several.portals["b"].start()
        day.over()

    assert_survived(day)
    assert day.unanswered == 0


def test_an_older_copy_of_the_database_is_restored(several: Several, cluster: Cluster) -> None:
    """Users who signed in after the copy are signed out."""
    database = Database(f"postgres://ikd@127.0.0.1:{cluster.port}/{connection.settings_dict['NAME']}")
    older = dump(database, "--clean")
    since = begin(User.objects.get(username="alice"))
    cookie = f"{several.cookie_name}={open_gate(since, several.origin)}"
    assert [portal.ask(cookie, origin=several.origin).status for portal in several.portals.values()] == [
        200
    ] * 2
    with bad_day(several, "An older copy of the database is restored with `psql -1`") as day:
        day.begin()
        run_sql(database, older)
        day.revoked_at = time.monotonic()  # eve signed in after the copy
        day.over()

    assert_survived(day)
    assert [portal.ask(cookie, origin=several.origin).status for portal in several.portals.values()] == [
        401
    ] * 2
    assert not GateSession.objects.filter(sign_in=since.pk).exists()


# ---- other ways to PostgreSQL and Redis -----------------------------------------------------------------


@pytest.fixture
def restored_settings(several: Several) -> Iterator[None]:
    """Restore the portals' own settings afterwards."""
    before = {name: dict(portal.environment) for name, portal in several.portals.items()}
    yield
    for name, portal in several.portals.items():
        portal.environment = before[name]
    several.start_again()


@contextmanager
def relays(several: Several, *ports: int) -> Iterator[dict[str, str]]:
    """Yield for each portal the address at which it reaches servers of 127.0.0.1."""
    far = [Relay(several.hosts["b"], port) for port in ports]
    try:
        yield {
            "a": ",".join(f"127.0.0.1:{port}" for port in ports),
            "b": ",".join(f"{relay.host}:{relay.port}" for relay in far),
        }
    finally:
        for relay in far:
            relay.close()


@in_report
def test_pgbouncer_is_killed_and_starts_again(
    several: Several, cluster: Cluster, restored_settings: None
) -> None:
    bouncer = Bouncer(cluster, connection.settings_dict["NAME"], size=4)
    try:
        with relays(several, bouncer.port) as at:
            several.start_again(DATABASE_URL={name: f"postgres://ikd@{at[name]}/portal" for name in at})
            with bad_day(several, "PgBouncer (transaction mode) is killed, and starts again") as day:
                day.revoke()
                day.begin(without_database=True)
                bouncer.kill()
                time.sleep(1)
                bouncer.start()
                day.over()
    finally:
        bouncer.stop()

    assert_survived(day)


@in_report
def test_postgresql_fails_over_to_a_replica(
    several: Several, cluster: Cluster, restored_settings: None
) -> None:
    replica = Replica(cluster)
    name = connection.settings_dict["NAME"]
    try:
        replica.start()
        with relays(several, cluster.port, replica.port) as at:
            several.start_again(DATABASE_URL={each: f"postgres://ikd@{at[each]}/{name}" for each in at})
            with bad_day(several, "PostgreSQL is killed, and its replica promoted after 1 second") as day:
                day.revoke()
                assert eventually(lambda: replica.has_all_of(cluster))
                day.begin(without_database=True)
                cluster.stop(signal.SIGQUIT)
                time.sleep(1)
                replica.promote()
                day.over()
    finally:
        replica.remove()
        connection.close()
        cluster.start()

    assert_survived(day)


@in_report
def test_redis_fails_over_by_sentinel(several: Several, restored_settings: None, tmp_path: Path) -> None:
    hosts = tuple(dict.fromkeys(("127.0.0.1", several.hosts["b"])))
    primary = Redis(tmp_path, *hosts).start()
    replica = Redis(tmp_path, *hosts, primary=primary.port).start()
    sentinel = Redis(tmp_path, *hosts, sentinels_of=primary.port).start()
    try:
        assert eventually(lambda: "slaves=1" in sentinel.ask("INFO", "sentinel"), 30)
        urls = {
            name: f"redis+sentinel://{host}:{sentinel.port}/mymaster/0"
            for name, host in several.hosts.items()
        }
        several.start_again(REDIS_URL=urls)
        with bad_day(several, "Redis is killed, and Sentinel promotes its replica") as day:
            day.begin()
            primary.stop(signal.SIGKILL)
            day.over()
            day.revoke()
            during = sign_in_at(several.portals["a"], several)
            assert eventually(lambda: sign_in_at(several.portals["b"], several) == SIGNED_IN, 30)
    finally:
        for each in (sentinel, replica, primary):
            each.stop()

    assert_survived(day)
    assert during in (503, SIGNED_IN)
    assert day.unanswered == 0
