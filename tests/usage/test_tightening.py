"""Unused access: what is found, what is not, and who may see it."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, RequestCount
from tests.factories import ApplicationFactory, RuleFactory, UserFactory

pytestmark = pytest.mark.django_db
PAGE = "/admin/authgate/application/unused-access/"


def used(application: Application, person: int, rule: int, days_ago: int = 1) -> None:
    day = timezone.localdate() - timedelta(days=days_ago)
    RequestCount.objects.create(
        application=application, person=person, rule=rule, day=day, method="GET", allowed=1
    )


def found(client: Client, days: int = 90) -> set[tuple[str, ...]]:
    content = b"".join(client.get(f"{PAGE}?format=csv&days={days}"))
    rows = csv.DictReader(io.StringIO(content.decode()))
    return {(row["kind"], row["application"], row["path"], row["group"], row["people"]) for row in rows}


def test_unused_rules_groups_and_users_are_found(
    wiki: Application, alice: User, bob: User, carols: Client
) -> None:
    UserFactory(username="anna", groups=["staff"])
    first = wiki.rules.get()
    admin = RuleFactory(application=wiki, path="/admin", who="chosen", groups=["guests", "staff"])
    RuleFactory(application=wiki, path="/old", who="everyone")
    used(wiki, alice.pk, first.pk)
    used(wiki, bob.pk, admin.pk)

    assert found(carols) == {
        ("group", "Wiki", "/admin", "staff", "2"),
        ("rule", "Wiki", "/old", "", "0"),
        ("people", "Wiki", "", "", "1"),
    }


def test_use_long_ago_does_not_count(wiki: Application, alice: User, carols: Client) -> None:
    used(wiki, alice.pk, wiki.rules.get().pk, days_ago=40)

    assert found(carols) == set()
    assert found(carols, days=30) == {("rule", "Wiki", "/", "", "0"), ("people", "Wiki", "", "", "1")}


def test_use_by_visitors_counts_for_a_rule_but_not_for_its_groups(
    wiki: Application, alice: User, carols: Client
) -> None:
    rule = RuleFactory(application=wiki, path="/open", who="everyone")
    used(wiki, 0, rule.pk)
    used(wiki, alice.pk, wiki.rules.get(path="/").pk)

    assert found(carols) == set()


def test_disabled_applications_and_rules_on_trial_are_left_out(
    wiki: Application, alice: User, carols: Client
) -> None:
    ApplicationFactory(name="Off", origins=["https://off.example.com"], groups=["staff"], enabled=False)
    RuleFactory(application=wiki, path="/admin", who="chosen", groups=["staff"], only_watch=True)
    used(wiki, alice.pk, wiki.rules.get(path="/").pk)

    assert found(carols) == set()


def test_the_page_links_to_what_can_be_changed(wiki: Application, alice: User, carols: Client) -> None:
    page = carols.get(PAGE).content.decode()

    assert "A rule for / of Wiki admitted nobody for 90 days." in page
    assert f"/admin/authgate/application/{wiki.pk}/change/#rules-group" in page
    assert f"/admin/authgate/application/{wiki.pk}/access/?unused=1" in page
    assert "The portal has not counted any request yet" in page


def test_the_list_of_users_leaves_out_those_who_used_their_access(
    wiki: Application, alice: User, carols: Client
) -> None:
    UserFactory(username="anna", groups=["staff"])
    RuleFactory(application=wiki, path="/admin", who="chosen", groups=["staff"])
    used(wiki, alice.pk, wiki.rules.get(path="/").pk)

    page = carols.get(f"/admin/authgate/application/{wiki.pk}/access/?unused=1").content.decode()

    assert "anna" in page and "alice" not in page


def test_the_page_needs_the_permission(wiki: Application, alice: User, browser_of: Any) -> None:
    pat = UserFactory(username="pat", is_staff=True)

    assert browser_of(pat).get(PAGE).status_code == 403
    assert browser_of(alice).get(PAGE).status_code in (302, 403)
    pat.user_permissions.add(Permission.objects.get(codename="explain_access"))
    page = browser_of(pat).get(PAGE).content.decode()
    assert "admitted nobody" in page and "/change/#rules" not in page


@pytest.mark.parametrize("query", ["days=x", "days=999999999999", "p=x", "p=-1", "days=%00", "format=x"])
def test_odd_input_shows_the_page(query: str, wiki: Application, carols: Client) -> None:
    assert carols.get(f"{PAGE}?{query}").status_code == 200


def test_names_in_the_export_are_not_formulas(carols: Client) -> None:
    ApplicationFactory(name="=1+1", origins=["https://x.example.com"], groups=["staff"])

    assert {row[1] for row in found(carols)} == {"'=1+1"}


def test_many_applications_make_no_more_queries(wiki: Application, carols: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            carols.get(PAGE)
        return len(captured)

    first = queries()
    for number in range(5):
        origin = f"https://{number}.example.com"
        ApplicationFactory(name=f"App {number}", origins=[origin], groups=[f"group {number}"])

    assert queries() <= first
