"""The admin's pages about the past: who could open what, and why."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, JournalEntry, Rule
from tests.factories import ApplicationFactory, RuleFactory

pytestmark = pytest.mark.django_db
BASE = "/admin/authgate/application"
ODD = (
    "yesterday",
    "2026-13-01",
    "0001-01-01",
    "9999-12-31 23:59:59",
    "\0",
    "2026-03-03T09:00+99:00",
    "x" * 999,
)


@pytest.fixture
def pay(bob: User) -> Application:
    found: Application = ApplicationFactory(name="Pay", origins=["https://pay.example.com"])
    RuleFactory(application=found, path="/payroll", who="chosen", users=[bob])
    return found


def moment() -> datetime:
    time.sleep(0.003)
    return timezone.now()


def lists(pay: Application, bob: User) -> tuple[str, str]:
    return f"{BASE}/{pay.pk}/access/", f"{BASE}/opened-by/{bob.pk}/"


def test_lists_show_access_at_a_past_moment(carols: Client, pay: Application, bob: User) -> None:
    urls, before = lists(pay, bob), moment().isoformat()
    Rule.objects.filter(application=pay).delete()

    for url in urls:
        assert [each.count for each in (carols.get(url).context["page"].paginator,)] == [0]
        then = carols.get(url, {"at": before})
        assert [line.username for line in then.context["page"]] == ["bob"]
        assert b"from the journal" in then.content
        assert "bob" in b"".join(carols.get(url, {"at": before, "format": "csv"})).decode()


def test_lists_show_users_and_applications_deleted_since(carols: Client, pay: Application, bob: User) -> None:
    urls, before = lists(pay, bob), moment().isoformat()
    pay.delete()
    bob.delete()

    for url in urls:
        assert carols.get(url).status_code == 404
        assert carols.get(url, {"at": before}).context["page"].paginator.count == 1
    everything = b"".join(carols.get(f"{BASE}/access/", {"at": before})).decode()
    assert "Pay" in everything


@pytest.mark.parametrize("at", ODD)
def test_an_unreadable_moment_never_shows_the_present(
    carols: Client, pay: Application, bob: User, at: str
) -> None:
    for url in lists(pay, bob):
        for more in ({}, {"format": "csv"}):
            answer = carols.get(url, {"at": at, **more})
            assert answer.status_code == 200
            assert answer.context["at_fault"]
            assert list(answer.context["page"]) == []
    assert carols.get(f"{BASE}/access/", {"at": at}).status_code == 400


def test_a_request_is_explained_for_a_past_moment(carols: Client, pay: Application) -> None:
    before = timezone.localtime(moment()).strftime("%Y-%m-%dT%H:%M:%S.%f")
    asked = {"url": "https://pay.example.com/payroll", "person": "bob", "how": "page"}
    Rule.objects.filter(application=pay).delete()

    now = carols.post(f"{BASE}/explain/", asked).context["result"]
    then = carols.post(f"{BASE}/explain/", {**asked, "at": before}).context["result"]

    assert (now["kind"], then["kind"]) == ("refuse", "allow")
    assert then["deciding"].who == "bob"


@pytest.mark.parametrize("at", ODD)
def test_a_request_at_an_odd_moment_is_not_explained(carols: Client, pay: Application, at: str) -> None:
    asked = {"url": "https://pay.example.com/payroll", "person": "bob", "at": at}

    answer = carols.post(f"{BASE}/explain/", asked)

    assert answer.context["result"] is None
    assert "at" in answer.context["form"].errors


def test_changes_of_one_object_are_listed(carols: Client, pay: Application, bob: User) -> None:
    for field, key in (("application", pay.pk), ("person", bob.pk)):
        found = carols.get("/admin/authgate/journalentry/", {field: key}).context["cl"].result_list
        assert found
        assert {getattr(entry, field) for entry in found} == {key}
    for odd in ("x", "9" * 40, "-1", "\0"):
        assert carols.get("/admin/authgate/journalentry/", {"person": odd}).status_code in (200, 302, 400)


def test_the_list_makes_no_more_queries_for_many_changes(carols: Client, pay: Application) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert carols.get("/admin/authgate/journalentry/").status_code == 200
        return len(found)

    queries()
    few = queries()
    for number in range(30):
        RuleFactory(application=pay, path=f"/p{number}", groups=["staff"])

    assert queries() <= few + 1
    assert JournalEntry.objects.count() > 60


def test_missing_triggers_are_shown_to_administrators(carols: Client) -> None:
    def titles() -> list[str]:
        return [matter.title for matter in carols.get("/admin/").context["matters"]]

    before = titles()
    with connection.cursor() as cursor:
        on = " ON authgate_rule" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER journal_authgate_rule_update{on}")

    assert "Changes are not journaled" not in before
    assert "Changes are not journaled" in titles()
