"""Spans of a running portal, as a real collector receives them from the real exporter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.front.conftest import database, pattern, people
from tests.front.serving import WIKI, Cast, Database, Portal, check_bytes, eventually
from tests.traces.collector import Collector, collecting, values

__all__ = ["database", "pattern", "people"]

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
LOGIN = "GET /accounts/login/"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def portal(
    database: Database, people: Cast, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("traced")
    portal = Portal(folder, database, IKD_TRACE_CHECKS="1000", **collector.environment).start()
    yield portal
    portal.stop()


@pytest.fixture(autouse=True)
def empty_collector(collector: Collector) -> None:
    time.sleep(0.3)  # spans of the test before are still on their way
    collector.found.clear()
    collector.bodies.clear()


def page(portal: Portal, path: str = "/accounts/login/", **headers: str) -> int:
    with portal.connect() as asks:
        named = {"Host": "sso.example.com", "X-Forwarded-Proto": "https", "Connection": "close", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        asks.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return asks.reply().status


def is_in_the_trace(span: Span) -> bool:
    return span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT


def test_a_page_has_a_span_in_the_trace_of_a_trusted_proxy(portal: Portal, collector: Collector) -> None:
    assert page(portal, traceparent=SAMPLED) == 200

    span = collector.span(LOGIN)
    assert is_in_the_trace(span)
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.end_time_unix_nano > span.start_time_unix_nano
    found = values(span)
    assert (found["http.route"], found["http.response.status_code"]) == ("/accounts/login/", 200)
    assert len(found["ikd.request"]) == 12
    assert collector.resources[-1]["service.name"] == "ikd-portal"
    assert collector.resources[-1]["service.version"]


def test_queries_are_children_of_their_pages_span(portal: Portal, collector: Collector) -> None:
    page(portal, traceparent=SAMPLED)

    span = collector.span(LOGIN)
    assert eventually(lambda: any(each.parent_span_id == span.span_id for each in collector.found))
    queries = [each for each in collector.found if each.parent_span_id == span.span_id]
    assert {values(each)["db.system.name"] for each in queries} == {connection.vendor}
    assert all(each.name.startswith("SELECT ") and each.kind == Span.SPAN_KIND_CLIENT for each in queries)


def test_a_trace_that_the_proxy_does_not_sample_is_not_sent(portal: Portal, collector: Collector) -> None:
    page(portal, traceparent=UNSAMPLED)
    page(portal)

    assert not is_in_the_trace(collector.span(LOGIN))
    assert [span for span in collector.found if span.trace_id.hex() == TRACE] == []


@pytest.mark.parametrize(
    "sent",
    ["", "00-0-0-01", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", "x" * 5_000],
    ids=["empty", "short", "version", "zeros", "long"],
)
def test_an_unreadable_parent_begins_a_new_trace(sent: str, portal: Portal, collector: Collector) -> None:
    assert page(portal, traceparent=sent) == 200

    assert not collector.span(LOGIN).parent_span_id


def test_two_parents_begin_a_new_trace(portal: Portal, collector: Collector) -> None:
    assert page(portal, traceparent=SAMPLED, Traceparent=SAMPLED) == 200

    assert not collector.span(LOGIN).parent_span_id


def test_a_check_with_a_known_head_has_a_span_too(portal: Portal, people: Cast, collector: Collector) -> None:
    with portal.connect() as connection:
        for path in ("/a", "/b", "/c", "/d"):
            sent = check_bytes(people.alice_cookie, path=path, traceparent=SAMPLED)
            connection.send(sent)
            assert connection.reply().status == 200

    assert eventually(lambda: len(collector.spans("check nginx")) == 4)
    assert all(map(is_in_the_trace, collector.spans("check nginx")))
    found = [values(span) for span in collector.spans("check nginx")]
    assert {each["ikd.origin"] for each in found} == {WIKI}
    assert {(each["ikd.answer"], each["ikd.reason"]) for each in found} == {("allowed", "session")}
    assert {each["ikd.way"] for each in found} <= {"protocol", "waited"}
    assert found[-1]["ikd.way"] == "protocol"


def test_the_load_of_an_unknown_session_has_a_span_with_its_queries(
    portal: Portal, people: Cast, collector: Collector
) -> None:
    assert portal.ask(people.bob_cookie).status == 403

    assert values(collector.span("check nginx"))["ikd.reason"] == "no_rule_admits"
    look_up = collector.span("look-up")
    assert values(look_up)["ikd.checks"] == 1
    assert eventually(lambda: any(each.parent_span_id == look_up.span_id for each in collector.found))


SECRET = "Th1sMustNotBeInAnySpan"


def test_no_secret_is_in_a_span(portal: Portal, people: Cast, collector: Collector) -> None:
    cookie = f"{people.alice_cookie}; session={SECRET}"
    page(portal, f"/first-administrator/{SECRET}?code={SECRET}", Cookie=f"__Host-ikd_portal={SECRET}")
    page(portal, f"/continue?state={SECRET}", Referer=f"https://sso.example.com/{SECRET}")
    page(portal, f"/nowhere/{SECRET}", Authorization=f"Bearer {SECRET}")
    with portal.connect() as connection:
        for path in (f"/{SECRET}?token={SECRET}", f"/{SECRET}/b"):
            connection.send(check_bytes(cookie, path=path, Authorization=f"Basic {SECRET}"))
            connection.reply()

    collector.span("GET /first-administrator/<str:token>")
    assert eventually(lambda: len(collector.spans("check nginx")) == 2)
    time.sleep(0.5)
    sent = b"".join(collector.bodies)
    assert SECRET.encode() not in sent
    assert people.alice_cookie.partition("=")[2].encode() not in sent


def test_a_stranger_cannot_join_a_trace(
    database: Database, people: Cast, collector: Collector, tmp_path: Path
) -> None:
    strange = {"IKD_TRUSTED_PROXIES": "192.0.2.1", "IKD_TRACE_CHECKS": "1000"}
    portal = Portal(tmp_path, database, **strange, **collector.environment).start()
    try:
        page(portal, traceparent=SAMPLED)
        with portal.connect() as connection:
            connection.send(check_bytes(traceparent=SAMPLED))
            connection.reply()

        assert eventually(lambda: bool(collector.spans(LOGIN)))
        assert eventually(lambda: bool(collector.spans("check nginx")))
        assert [span for span in collector.found if span.trace_id.hex() == TRACE] == []
    finally:
        portal.stop()


def test_waiting_spans_are_sent_when_the_portal_ends(
    database: Database, people: Cast, collector: Collector, tmp_path: Path
) -> None:
    environment = collector.environment | {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    portal = Portal(tmp_path, database, **environment).start()
    page(portal)
    assert collector.spans(LOGIN) == []

    portal.stop()

    assert len(collector.spans(LOGIN)) == 1


def test_the_span_of_a_failed_page_has_no_error_message(
    database: Database, people: Cast, collector: Collector, tmp_path: Path
) -> None:
    empty = {"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"}
    portal = Portal(tmp_path, database, **empty, **collector.environment).start()
    try:
        assert page(portal) >= 500

        span = collector.span(LOGIN)
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert span.status.message == ""
        assert list(span.events) == []
    finally:
        portal.stop()
