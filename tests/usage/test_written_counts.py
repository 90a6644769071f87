"""Counts in the database: written in batches, summed over processes and days, and deleted with a user."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connection
from django.test import Client

from accounts.models import User
from authgate.check.tally import NOBODY
from authgate.decision.rules import ALLOW, Decision
from authgate.models import Application, RequestCount
from authgate.usage import requests
from authgate.worker.tallies import Tallies
from authgate.worker.usage import EVERY, UsageWriter, usage
from tests.authgate.asking import WIKI, endpoint, forwarded, raw_endpoint, signed_in
from tests.front.serving import Cast, Database, Portal

ADMITTED = Decision(ALLOW, "admitted", 4)


def rows() -> set[tuple[Any, ...]]:
    fields = ("person", "rule", "method", "allowed", "refused", "asked")
    return set(RequestCount.objects.values_list(*fields))


def count(tallies: Tallies, times: int, *, person: int = 1, rule: int = 4, method: str = "GET") -> None:
    tallies.kept(1, person, Decision(ALLOW, "admitted", rule), method).count += times


def test_two_processes_and_two_writes_add_up(database: Database) -> None:
    with database.connected():
        for _ in range(2):
            for _ in range(2):
                tallies = Tallies()
                count(tallies, 3)
                UsageWriter(tallies).write()

        assert rows() == {(1, 4, "GET", 12, 0, 0)}


def test_many_rows_take_several_statements(database: Database) -> None:
    tallies = Tallies()
    for person in range(250):
        count(tallies, person + 1, person=person)
    with database.connected():
        UsageWriter(tallies).write()

        assert RequestCount.objects.count() == 250
        assert {(row.person, row.allowed) for row in RequestCount.objects.all()} == {
            (person, person + 1) for person in range(250)
        }


def test_counts_that_the_database_refused_are_written_later(database: Database, monkeypatch: Any) -> None:
    tallies = Tallies()
    writer = UsageWriter(tallies)
    with database.connected():
        count(tallies, 3)
        with monkeypatch.context() as patch:
            patch.setattr(RequestCount._meta, "db_table", "no_such_table")
            with pytest.raises(DatabaseError):
                writer.write()
        count(tallies, 2)
        writer.write()
        writer.write()

        assert rows() == {(1, 4, "GET", 5, 0, 0)}


@pytest.mark.django_db
def test_a_day_has_its_own_row() -> None:
    tallies = Tallies()
    writer = UsageWriter(tallies)
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    with time_machine.travel(noon, tick=False) as clock:
        count(tallies, 1)
        writer.write()
        clock.move_to(noon + timedelta(days=1))
        count(tallies, 2)
        writer.write()

    assert set(RequestCount.objects.values_list("day", "allowed")) == {
        (date(2026, 5, 1), 1),
        (date(2026, 5, 2), 2),
    }


def test_writes_are_rare() -> None:
    writer = UsageWriter(Tallies())

    assert [writer.is_due(), writer.is_due()] == [True, False]
    writer._due_at -= EVERY
    assert writer.is_due()


# ---- checks that Django answers ---------------------------------------------------------------------------


def ask(method: str = "GET", cookie: str = "", path: str = "/") -> int:
    headers = forwarded(f"{WIKI}{path}", method=method)
    return raw_endpoint("/authgate/nginx", headers, cookie=cookie).status_code


@pytest.mark.django_db
def test_checks_answered_by_the_view_are_counted_too(wiki: Application, alice: User, bob: User) -> None:
    rule = wiki.rules.get().pk
    alices, bobs = signed_in(alice), signed_in(bob)

    statuses = [ask(cookie=alices), ask(cookie=alices), ask("POST", alices), ask(cookie=bobs), ask()]
    usage.write()

    assert statuses == [200, 200, 200, 403, 401]
    assert rows() == {
        (alice.pk, rule, "GET", 2, 0, 0),
        (alice.pk, rule, "POST", 1, 0, 0),
        (bob.pk, rule, "GET", 0, 1, 0),
        (NOBODY, rule, "GET", 0, 0, 1),
    }
    assert set(RequestCount.objects.values_list("application", flat=True)) == {wiki.pk}


@pytest.mark.django_db
def test_endpoints_and_explanations_are_not_counted(wiki: Application, carol: User, browser_of: Any) -> None:
    browser: Client = browser_of(carol)
    endpoint("/authgate/start", WIKI)
    answered = browser.post(
        "/admin/authgate/application/explain/", {"url": f"{WIKI}/", "person": "carol", "method": "GET"}
    )
    usage.write()

    assert answered.status_code == 200
    assert rows() == set()


# ---- readers ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_readers_sum_counts_and_find_the_last_day(wiki: Application, django_assert_num_queries: Any) -> None:
    first, last = date(2026, 5, 1), date(2026, 5, 9)
    for day, person, rule, allowed, refused in (
        (first, 1, 4, 3, 0),
        (last, 1, 4, 5, 0),
        (last, 1, 5, 0, 2),
        (first, 2, 4, 1, 0),
        (last, NOBODY, 4, 9, 0),
    ):
        RequestCount.objects.create(
            day=day,
            application=wiki,
            person=person,
            rule=rule,
            method="GET",
            allowed=allowed,
            refused=refused,
        )

    with django_assert_num_queries(5):
        assert requests.last_uses(application=wiki.pk) == {
            (wiki.pk, 1, 4): last,
            (wiki.pk, 2, 4): first,
        }
        assert requests.last_use(1, wiki.pk) == last
        assert requests.last_use(3, wiki.pk) is None
        assert requests.totals_by_rule(first, application=wiki.pk) == {4: (18, 0, 0), 5: (0, 2, 0)}
        assert sum(each.allowed for each in requests.counts(last, person=1)) == 5


@pytest.mark.django_db
def test_a_deleted_user_leaves_no_counts(alice: User, wiki: Application) -> None:
    for person in (alice.pk, NOBODY):
        RequestCount.objects.create(
            day=date(2026, 5, 1), application=wiki, person=person, rule=1, method="GET"
        )

    alice.delete()

    assert [row.person for row in RequestCount.objects.all()] == [NOBODY]
    wiki.delete()
    assert not RequestCount.objects.exists()


@pytest.mark.django_db
def test_a_count_of_a_deleted_application_breaks_no_batch(wiki: Application) -> None:
    tallies = Tallies()
    tallies.kept(987_654, 1, ADMITTED, "GET").count += 1
    count(tallies, 1)

    UsageWriter(tallies).write()
    connection.check_constraints()

    assert RequestCount.objects.count() == 2


# ---- a server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_a_server_that_stops_has_counted_every_check(
    people: Cast, database: Database, tmp_path: Path
) -> None:
    portal = Portal(tmp_path, database, workers=2).start()
    try:
        with portal.connect() as connection:
            statuses = [connection.check(people.alice_cookie, path=f"/{n}").status for n in range(40)]
        refused = [portal.ask(people.bob_cookie).status for _ in range(5)]
    finally:
        portal.stop()

    assert (set(statuses), set(refused)) == ({200}, {403})
    with database.connected():
        found = {(row.person, row.allowed, row.refused) for row in RequestCount.objects.all()}
    assert found == {(people.alice.pk, 40, 0), (people.bob.pk, 0, 5)}
