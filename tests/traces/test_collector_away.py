"""A collector that hangs, refuses or is down delays no check and no page. Lost spans are counted."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.front.conftest import database, pattern, people
from tests.front.serving import Cast, Database, Portal, eventually, free_port
from tests.traces.collector import Collector, collecting
from tests.traces.test_spans import page

__all__ = ["database", "pattern", "people"]

TOKEN = "the token of Prometheus"
SOON = 5.0
"""The longest time of an answer, in seconds. The exporter waits for ten."""


def portal_of(folder: Path, database: Database, **environment: str) -> Portal:
    small = {
        "IKD_TRACE_CHECKS": "1000",
        "IKD_METRICS_TOKEN": TOKEN,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_QUEUE_SIZE": "16",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
    }
    return Portal(folder, database, **(small | environment)).start()


def counted(portal: Portal, result: str) -> int:
    with portal.connect() as connection:
        text = connection.get("/metrics", Authorization=f"Bearer {TOKEN}", Connection="close").body.decode()
    found = re.search(rf'^ikd_spans_total{{result="{result}"}} (\d+)$', text, re.MULTILINE)
    return int(found[1]) if found else -1


def slowest(portal: Portal, cookie: str) -> float:
    """Return the longest time of a hundred checks and ten pages, in seconds."""
    longest = 0.0
    with portal.connect() as connection:
        for number in range(100):
            began = time.monotonic()
            assert connection.check(cookie, path=f"/{number}").status == 200
            longest = max(longest, time.monotonic() - began)
    for _ in range(10):
        began = time.monotonic()
        assert page(portal) == 200
        longest = max(longest, time.monotonic() - began)
    return longest


def test_while_the_collector_hangs_answers_are_quick_and_spans_are_dropped(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    with collecting() as collector:
        environment = collector.environment | {"OTEL_BSP_SCHEDULE_DELAY": "50"}
        collector.lets_go.clear()
        portal = portal_of(tmp_path, database, **environment)
        try:
            assert slowest(portal, people.alice_cookie) < SOON
            assert eventually(lambda: counted(portal, "dropped") > 0)
            assert counted(portal, "sent") == 0

            collector.lets_go.set()
            assert eventually(lambda: page(portal) == 200 and counted(portal, "sent") > 0)
            collector.lets_go.clear()
            page(portal)
            time.sleep(0.2)
        finally:
            began = time.monotonic()
            portal.stop()
        assert time.monotonic() - began < 20
        assert "Queue full" not in portal.log.read_text()


@pytest.mark.parametrize("kind", ["refuses", "is away"])
def test_spans_that_the_collector_refuses_are_counted(
    kind: str, database: Database, people: Cast, tmp_path: Path
) -> None:
    with collecting() as collector:
        collector.status = 400
        port = collector.port if kind == "refuses" else free_port()
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
        portal = portal_of(tmp_path, database, **environment)
        try:
            assert slowest(portal, people.alice_cookie) < SOON
            assert eventually(lambda: counted(portal, "failed") > 0)
            assert counted(portal, "sent") == 0
        finally:
            portal.stop()


def test_the_number_of_traced_checks_is_limited_by_the_setting(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    with collecting() as collector:
        portal = portal_of(tmp_path, database, IKD_TRACE_CHECKS="0", **collector.environment)
        try:
            slowest(portal, people.alice_cookie)
            assert eventually(lambda: bool(collector.spans("GET /accounts/login/")))
            assert names_of_checks(collector) == []
        finally:
            portal.stop()


def names_of_checks(collector: Collector) -> list[str]:
    return [span.name for span in collector.found if span.name.startswith("check")]
