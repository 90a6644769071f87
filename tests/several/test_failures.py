"""Two portals behind nginx and Traefik: if one fails, no check is lost, and no wrong user gets in."""

from __future__ import annotations

import time

import pytest

from tests.feed.cluster import Cluster
from tests.front.serving import eventually
from tests.several.conftest import FIRST
from tests.several.stage import Network, Several, assert_nothing_lost, kill, stopped

pytestmark = [pytest.mark.proxy, pytest.mark.xdist_group("several")]

READ_TIMEOUT = 3.0
"""Seconds that the shipped files wait for a portal."""


def test_a_hanging_portal_delays_checks_by_the_proxies_timeout(several: Several) -> None:
    with several.load() as loads, stopped(several.portals["a"]):
        stopped_at = time.monotonic()
        time.sleep(2.5 * READ_TIMEOUT)
        continued_at = time.monotonic()

    for load in loads:
        assert_nothing_lost(load)
        late = [each for each in load.answers if stopped_at + 1.7 * READ_TIMEOUT < each.at < continued_at]
        slow = [each for each in late if each.seconds > READ_TIMEOUT * 0.8]
        assert late and len(slow) < len(late) / 10


def test_restarting_a_portal_loses_no_check(several: Several) -> None:
    with several.load() as loads:
        several.portals["a"].stop()
        time.sleep(1)
        several.portals["a"].start()

    for load in loads:
        assert_nothing_lost(load)


def test_killing_a_portal_loses_no_check(several: Several) -> None:
    with several.load() as loads:
        kill(several.portals["b"])
        time.sleep(1)
        several.portals["b"].start()

    for load in loads:
        assert_nothing_lost(load)


def test_cutting_off_a_portal_loses_no_check(several: Several, network: Network | None) -> None:
    if network is None:
        pytest.skip("a network namespace can be made by root alone")
    with several.load() as loads, network.cut_off():
        time.sleep(1.5 * READ_TIMEOUT)

    for load in loads:
        assert_nothing_lost(load)


def test_a_reload_loses_no_check(several: Several) -> None:
    portal = several.portals["b"]
    before = {*portal.workers(), *portal.page_workers()}

    with several.load() as loads:
        portal.reload()
        is_replaced = eventually(lambda: not before & {*portal.workers(), *portal.page_workers()}, 60)

    assert is_replaced
    for load in loads:
        assert_nothing_lost(load)


def test_a_portal_without_its_database_loses_no_check(several: Several, cluster: Cluster) -> None:
    """It answers 503, as a portal without room for a check does."""
    with several.load() as loads:
        cluster.execute(
            f"ALTER ROLE {FIRST} NOLOGIN",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{FIRST}'",
        )
        try:
            has_failed = eventually(lambda: several.portals["a"].ask().status == 503, 30)
            time.sleep(1)
        finally:
            cluster.execute(f"ALTER ROLE {FIRST} LOGIN")

    assert has_failed
    for load in loads:
        assert_nothing_lost(load)


def test_restarting_portals_in_turn_loses_no_check(on_sqlite: Several) -> None:
    with on_sqlite.load() as loads:
        for portal in on_sqlite.portals.values():
            portal.stop()
            portal.start()

    for load in loads:
        assert_nothing_lost(load)
