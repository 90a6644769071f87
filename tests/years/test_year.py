"""A year of a portal with 1,000 users, scaled to 1 in 100: nothing grows after the longest retention time.

The clock moves four days at a time. Each step writes the rows that 40 users cause in a day, which is what ten
users cause in four. Each step ends with a round of deletions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.apps import apps
from django.db import connection
from django.db.models import Model, QuerySet
from pytest_django import Settings

from accounts.models import User
from authgate.models import AuditEvent, Change, ConfigurationEvent, GateSession, RequestCount, SignIn
from authgate.worker.feed import CUT_EVERY, FORGET_AFTER, Feed
from authgate.worker.loader import gate_settings
from authgate.worker.memory import WorkerMemory
from ikd_portal.tidy import kinds, rounds, sqlite
from tests.factories import UserFactory
from tests.feed.conftest import Clock
from tests.front.serving import Database
from tests.years import rows

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 364
STEP = 4
USERS = 40
HALF_A_YEAR = DAYS // 2 // STEP * STEP
EVENTS = {"sign_in": 40, "sign_out": 20, "openid_sign_in": 40, "refused": 30, "token_made": 2, "changed": 3}
"""The events of one day, for 40 users."""


@dataclass(frozen=True)
class Size:
    """The number of rows of each table, and the total size in bytes."""

    rows: dict[str, int]
    octets: int


def a_day(users: list[User], number: int) -> None:
    """Write the rows that 40 users cause in a day."""
    sign_ins = SignIn.objects.bulk_create(
        rows.sign_in(user, ended=index % 3 > 0, keep=index % 8 == 0) for index, user in enumerate(users)
    )
    GateSession.objects.bulk_create(
        rows.gate_session(parent, ended=not index) for parent in sign_ins for index in range(5)
    )
    client = rows.client()
    for each in sign_ins[:4]:
        rows.grant(each, offline=each is sign_ins[0], ended=each.ended_at is not None, to=client)
    rows.save_all([rows.portal_session() for _ in users], [rows.kept_page() for _ in range(4)])
    rows.save_all([rows.event(kind) for kind, count in EVENTS.items() for _ in range(count)])
    rows.save_all([rows.invitation(used=bool(number % 2))], [rows.api_token(users[0])], [rows.delivery()])
    rows.save_all([rows.remembered_device(users[1])], rows.request_counts(users))
    if number % 28 == 0:
        rows.save_all([rows.configuration_event(f"mistake {number}")])
    for _ in range(10):
        rows.cache_entry()


def size(database: Database) -> Size:
    counts = {model._meta.db_table: model._default_manager.count() for model in apps.get_models()}
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Size(counts, Path(database.url.removeprefix("sqlite:///")).stat().st_size)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT pg_database_size(current_database())")
        return Size(counts, cursor.fetchone()[0])


def vacuum_if_due(number: int) -> None:
    """Do what autovacuum does, which only begins after minutes of real time."""
    if connection.vendor == "postgresql" and number % (4 * STEP) == 0:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def plans() -> dict[str, str]:
    """Return how the database runs the queries of the rounds, of checks and of the administration."""
    now = datetime.now(UTC)
    asked: dict[str, QuerySet[Model]] = {
        "gate session": GateSession.objects.filter(token_digest=b"0" * 32).select_related("sign_in"),
        "newest events": AuditEvent.objects.order_by("-at", "-pk")[:50],
        "events about a user": AuditEvent.objects.filter(subject="alice").order_by("-at")[:20],
        "refusals": kinds._refusals()[:200],
        "security events": AuditEvent.objects.filter(at__lt=now - 90 * DAY)[:200],
        "ended sign-ins": kinds.over_sign_ins().order_by()[:200],
        "ended gate sessions": kinds._ended_gate_sessions().order_by()[:200],
        "portal sessions": kinds._portal_sessions().order_by()[:200],
        "counts of requests": RequestCount.objects.filter(day__lt=now.date()).order_by("day")[:2000],
    }
    return {name: query.explain() for name, query in asked.items()}


def a_feed(clock: Clock) -> Feed:
    return Feed(WorkerMemory(gate_settings(), clock=clock), clock)


@pytest.fixture
def users(database: Database) -> list[User]:
    return [UserFactory() for _ in range(USERS)]


def test_after_a_year_there_are_no_more_rows_than_after_half_a_year(
    database: Database, users: list[User], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A year must be longer than twice the longest retention time, so that the number of kept rows levels off.
    settings.IKD_KEEP_SECURITY_EVENTS = 90 * 24 * 3600
    monkeypatch.setattr(sqlite, "LEAST_FREE_PAGES", 100)
    clock, sizes, found = Clock(), {}, {}
    feed = a_feed(clock)
    with time_machine.travel(BEGIN, tick=False) as today:
        for number in range(STEP, DAYS + 1, STEP):
            a_day(users, number)
            today.move_to(BEGIN + number * DAY)
            rounds.go("tests", batches=None, pause=0)
            clock.added += max(CUT_EVERY, 2 * FORGET_AFTER) + 1
            feed._cut()
            vacuum_if_due(number)
            if number in (HALF_A_YEAR, DAYS):
                sizes[number], found[number] = size(database), plans()

    half, whole = sizes[HALF_A_YEAR], sizes[DAYS]
    assert [table for table, count in whole.rows.items() if count > 1.1 * half.rows[table] + 5] == []
    assert whole.octets < 1.15 * half.octets + 200_000
    assert {"authgate_signin", "authgate_auditevent", "openid_grant"} <= {
        table for table, count in whole.rows.items() if count
    }
    assert Change.objects.count() < 2_000
    assert ConfigurationEvent.objects.count() <= 3
    if connection.vendor == "sqlite":
        assert found[DAYS] == found[HALF_A_YEAR]
        assert [name for name, plan in found[DAYS].items() if "SCAN" in plan and "USING" not in plan] == []


def test_without_deletions_the_number_of_rows_grows(database: Database, users: list[User]) -> None:
    """This shows that the sizes in the test above grow if no rows are deleted."""
    sizes = []
    with time_machine.travel(BEGIN, tick=False) as today:
        for number in range(STEP, 20 * STEP, STEP):
            a_day(users, number)
            today.move_to(BEGIN + number * DAY)
            sizes.append(size(database))

    assert sizes[-1].rows["authgate_auditevent"] > 1.8 * sizes[len(sizes) // 2].rows["authgate_auditevent"]
    assert sizes[-1].octets > sizes[len(sizes) // 2].octets + 500_000
