"""Expired rows are deleted, not a moment too early, and by one process at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.conf import settings
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models import Model
from pytest_django import Settings

from authgate import leases
from authgate.event_words import EVENTS
from authgate.models import AuditEvent, GateSession, Lease, SignIn
from ikd_portal import checks
from ikd_portal.tidy import kinds, rounds, sqlite
from openid.models import Code, Grant, Token
from tests.front.serving import Cast, Database
from tests.own_database import in_tables
from tests.years import rows

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def kept(setting: str) -> timedelta:
    return timedelta(seconds=getattr(settings, setting))


ENDS: dict[str, tuple[Callable[[Cast], Model], timedelta]] = {
    "a sign-in that ended": (lambda cast: rows.sign_in(cast.alice), kept("IKD_KEEP_SESSIONS")),
    "a sign-in that expired": (
        lambda cast: rows.sign_in(cast.alice, ended=False),
        kept("IKD_KEEP_SESSIONS") + DAY / 2,
    ),
    "a gate session that ended before its sign-in": (
        lambda cast: rows.gate_session(SignIn.objects.filter(user=cast.alice)[0], ended=True),
        kept("IKD_KEEP_SESSIONS"),
    ),
    "a portal session": (lambda cast: rows.portal_session(), DAY / 2),
    "an invitation that was used": (
        lambda cast: rows.invitation(used=True),
        kept("IKD_KEEP_INVITATIONS"),
    ),
    "an invitation that expired": (lambda cast: rows.invitation(), kept("IKD_KEEP_INVITATIONS") + DAY),
    "an API token that was revoked": (
        lambda cast: rows.api_token(cast.alice, ended=True),
        kept("IKD_KEEP_API_TOKENS"),
    ),
    "an API token that expired": (
        lambda cast: rows.api_token(cast.alice),
        kept("IKD_KEEP_API_TOKENS") + DAY,
    ),
    "a link that locks an account": (lambda cast: rows.lock_link(cast.alice), DAY),
    "a remembered device": (lambda cast: rows.remembered_device(cast.alice), DAY),
    "a refusal": (lambda cast: rows.event("refused"), kept("IKD_KEEP_REFUSALS")),
    "the event of a sign-in": (lambda cast: rows.event("sign_in"), kept("IKD_KEEP_SIGN_IN_EVENTS")),
    "a security event": (lambda cast: rows.event("factor_removed"), kept("IKD_KEEP_SECURITY_EVENTS")),
    "an access review": (
        lambda cast: rows.access_review(cast.alice),
        kept("IKD_KEEP_ACCESS_REVIEWS"),
    ),
    "a configuration event": (
        lambda cast: rows.configuration_event("a mistake"),
        kept("IKD_KEEP_CONFIGURATION_EVENTS"),
    ),
    "a count of requests": (
        lambda cast: rows.request_count(cast.alice),
        kept("IKD_KEEP_REQUEST_COUNTS") + DAY,
    ),
    "a result of a rule on trial": (
        lambda cast: rows.trial_count(cast.alice),
        kept("IKD_KEEP_REQUEST_COUNTS") + DAY,
    ),
    "a kept page": (lambda cast: rows.kept_page(), HOUR),
    "a sign-out message that was sent": (lambda cast: rows.delivery(), 7 * DAY),
}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE", 0)


def tidy() -> None:
    rounds.go("tests", batches=None, pause=0)


@pytest.mark.parametrize("what", ENDS)
def test_a_row_is_deleted_when_it_expires_and_not_earlier(what: str, people: Cast) -> None:
    make, after = ENDS[what]
    with time_machine.travel(BEGIN, tick=False) as clock:
        SignIn.objects.update(expires_at=BEGIN + 1000 * DAY)
        row = make(people)
        row.save(force_insert=True)

        clock.move_to(BEGIN + after - timedelta(seconds=1))
        tidy()
        stays = type(row)._default_manager.filter(pk=row.pk).exists()
        clock.move_to(BEGIN + after + timedelta(seconds=1))
        tidy()

    assert stays
    assert not type(row)._default_manager.filter(pk=row.pk).exists()


def test_live_rows_of_the_cast_stay(people: Cast) -> None:
    before = SignIn.objects.count(), GateSession.objects.count()

    tidy()

    assert (SignIn.objects.count(), GateSession.objects.count()) == before
    assert before[0] > 0


def test_a_sign_in_is_deleted_with_its_related_rows(people: Cast) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        ended = rows.sign_in(people.alice)
        ended.save()
        GateSession.objects.bulk_create(rows.gate_session(ended) for _ in range(450))
        grant = rows.grant(ended, ended=True)
        clock.move_to(BEGIN + 31 * DAY)
        tidy()

    assert not GateSession.objects.filter(sign_in_id=ended.pk).exists()
    assert not SignIn.objects.filter(pk=ended.pk).exists()
    assert not Code.objects.filter(grant_id=grant.pk).exists()
    assert not Token.objects.filter(grant_id=grant.pk).exists()


def test_a_sign_in_stays_while_a_client_can_refresh_its_tokens(people: Cast) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        parent = rows.sign_in(people.alice, ended=False)
        parent.save()
        gate = rows.gate_session(parent)
        gate.save()
        grant = rows.grant(parent, offline=True)
        Token.objects.filter(grant=grant).update(expires_at=BEGIN + 300 * DAY)

        clock.move_to(BEGIN + 200 * DAY)
        tidy()
        stays = Grant.objects.filter(pk=grant.pk, ended_at=None).exists()
        clock.move_to(BEGIN + 301 * DAY)
        tidy()

    assert stays
    assert not Grant.objects.filter(pk=grant.pk).exists()
    assert not GateSession.objects.filter(pk=gate.pk).exists()
    assert not SignIn.objects.filter(pk=parent.pk).exists()


def test_a_revoked_offline_grant_is_deleted_with_its_sign_in(people: Cast) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        parent = rows.sign_in(people.alice, ended=False)
        parent.save()
        grant = rows.grant(parent, offline=True)
        Grant.objects.filter(pk=grant.pk).update(revoked_at=BEGIN)
        clock.move_to(BEGIN + 40 * DAY)
        tidy()

    assert not SignIn.objects.filter(pk=parent.pk).exists()


@in_tables
def test_codes_and_limits_in_tables_are_deleted(people: Cast) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        for _ in range(250):
            rows.cache_entry()
        caches["codes"].set("stays", 1, 7200)
        clock.move_to(BEGIN + HOUR)
        tidy()
        found = caches["codes"].get("stays")

    with connection.cursor() as cursor:
        counts = [
            cursor.execute(f"SELECT count(*) FROM {table}") and cursor.fetchone()[0]
            for table in ("ikd_cache_default", "ikd_cache_codes")
        ]
    assert (found, counts) == (1, [0, 1])


def test_a_large_backlog_is_deleted_over_many_rounds(people: Cast) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        AuditEvent.objects.bulk_create(rows.event("refused") for _ in range(1000))
        clock.move_to(BEGIN + 60 * DAY)
        done = rounds.go("tests", batches=2, pause=0)

    assert done["refusals"] == 2 * kinds.BATCH
    assert AuditEvent.objects.count() == 1000 - 2 * kinds.BATCH


def test_no_batch_deletes_more_than_its_size(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        SignIn.objects.bulk_create(rows.sign_in(people.alice) for _ in range(450))
        clock.move_to(BEGIN + 60 * DAY)
        kind = next(kind for kind in kinds.KINDS if kind.name == "sign-ins")

        assert [kind.delete() for _ in range(4)] == [200, 200, 50, 0]


# ---- one process at a time --------------------------------------------------------------------------------


def test_only_the_process_with_the_lease_deletes_rows(people: Cast) -> None:
    assert leases.hold("tidy", "first", 60)

    with pytest.raises(rounds.LeaseLost):
        rounds.go("second")

    assert leases.hold("tidy", "first", 60)


def test_the_lease_of_a_dead_process_expires(people: Cast) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        leases.hold("tidy", "first", 60)
        clock.move_to(BEGIN + timedelta(seconds=59))
        too_early = leases.hold("tidy", "second", 60)
        clock.move_to(BEGIN + timedelta(seconds=61))

        assert (too_early, leases.hold("tidy", "second", 60)) == (False, True)
        assert not leases.hold("tidy", "first", 60)


def test_a_lease_in_the_future_is_ignored(people: Cast) -> None:
    with time_machine.travel(BEGIN + 1000 * DAY, tick=False) as clock:
        leases.hold("tidy", "first", 60)
        clock.move_to(BEGIN)

        assert leases.hold("tidy", "second", 60)


def test_one_of_many_processes_gets_the_lease(database: Database) -> None:
    barrier = threading.Barrier(8)

    def take(number: int) -> bool:
        barrier.wait(30)
        try:
            return leases.hold("raced", str(number), 60)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(8))) == [False] * 7 + [True]


# ---- by hand ----------------------------------------------------------------------------------------------


def test_the_command_reports_what_it_deleted(people: Cast) -> None:
    with time_machine.travel(BEGIN, tick=False) as clock:
        AuditEvent.objects.bulk_create(rows.event("refused") for _ in range(3))
        clock.move_to(BEGIN + 60 * DAY)
        said = StringIO()
        call_command("tidy", "--compact", stdout=said)

    assert said.getvalue() == "3 refusals\nTidy.\n"
    assert not Lease.objects.exists()


def test_the_command_does_not_run_beside_another_process(people: Cast) -> None:
    leases.hold("tidy", "first", 60)

    with pytest.raises(CommandError, match="Another process is already deleting"):
        call_command("tidy")


# ---- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", checks.FLOORS)
def test_no_setting_keeps_rows_for_less_than_its_floor(name: str, settings: Settings) -> None:
    setattr(settings, name, checks.FLOORS[name] - 1)

    assert [error.id for error in checks.check_kept()] == ["ikd_portal.E001"]


def test_security_events_are_kept_for_90_days_at_least() -> None:
    assert checks.FLOORS["IKD_KEEP_SECURITY_EVENTS"] == 90 * 24 * 3600


def test_every_kind_of_event_has_a_retention_time() -> None:
    assert {*kinds.REFUSALS, *kinds.SIGN_IN_EVENTS} < EVENTS.keys()


# ---- SQLite's file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_the_file_of_a_new_portal_can_shrink(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LEAST_FREE_PAGES", 100)
    AuditEvent.objects.bulk_create(rows.event("refused") for _ in range(20_000))
    large = sqlite._number("page_count")
    AuditEvent.objects.all().delete()

    sqlite.maintain()

    assert sqlite._number("auto_vacuum") == sqlite.INCREMENTAL
    assert sqlite._number("page_count") < large / 2


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_an_older_file_shrinks_after_compaction(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LEAST_FREE_PAGES", 100)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA auto_vacuum = 0")
        cursor.execute("VACUUM")
    AuditEvent.objects.bulk_create(rows.event("refused") for _ in range(20_000))
    AuditEvent.objects.all().delete()
    large = sqlite._number("page_count")
    sqlite.maintain()
    unchanged = sqlite._number("page_count")

    sqlite.compact()

    assert unchanged == large
    assert sqlite._number("page_count") < large / 2
    assert sqlite._number("auto_vacuum") == sqlite.INCREMENTAL
