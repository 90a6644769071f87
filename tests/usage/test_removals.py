"""The button next to a finding removes only that access, after showing the effect. It can be undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, AuditEvent, JournalEntry, RequestCount, Rule
from tests.admin.conftest import browser_of
from tests.admin.forms import confirm, messages_in
from tests.factories import ApplicationFactory, RuleFactory, UserFactory
from tests.feed.conftest import cluster, database, pattern, vendor  # noqa: F401

__all__ = ["browser_of"]
pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def site(database: None) -> Application:  # noqa: F811
    """Return an application that only una uses. vera and walt are in its group, and its rule names xena."""
    for name in ("una", "vera", "walt"):
        UserFactory(username=name, groups=["crew"])
    site: Application = ApplicationFactory(name="Site", origins=["https://site.example.com"], groups=["crew"])
    whole = site.rules.get()
    whole.users.add(UserFactory(username="xena"))
    admin = RuleFactory(application=site, path="/admin", who="chosen", groups=["crew", "operators"])
    RuleFactory(application=site, path="/old", who="chosen", groups=["crew"])
    UserFactory(username="olaf", groups=["operators"])
    for rule in (whole, admin):
        used(site, User.objects.get(username="una"), rule)
    return site


@pytest.fixture
def carlas(site: Application, browser_of: Callable[[User], Client]) -> Client:
    return browser_of(UserFactory(username="carla", is_staff=True, is_superuser=True))


def used(application: Application, user: User, rule: Rule) -> None:
    day = timezone.localdate() - timedelta(days=1)
    RequestCount.objects.create(
        application=application, person=user.pk, rule=rule.pk, day=day, method="GET", allowed=1
    )


def page(site: Application, kind: str, rule: int = 0, group: int = 0) -> str:
    query = urlencode({"kind": kind, "rule": rule, "group": group, "days": 90})
    return f"/admin/authgate/application/{site.pk}/unused-access/?{query}"


def lost(response: Any) -> set[tuple[str, str]]:
    return {
        (person.username, each.path) for each in response.context["effect"].lost for person in each.people
    }


def undo_removal(client: Client) -> Any:
    url = f"/admin/authgate/journalentry/{JournalEntry.objects.latest('pk').pk}/undo/"
    return confirm(client, client.get(url))


def access(site: Application) -> tuple[Any, ...]:
    """Return the users and groups in an application's rules, and the members of groups."""
    rules = site.rules.order_by("pk")
    return (
        list(rules.values_list("path", "groups__name").order_by("path", "groups__name")),
        list(rules.values_list("path", "users__username").order_by("path", "users__username")),
        list(User.objects.values_list("username", "groups__name").order_by("username", "groups__name")),
    )


def test_each_finding_has_a_button_that_leads_to_its_removal(site: Application, carlas: Client) -> None:
    body = carlas.get("/admin/authgate/application/unused-access/").content.decode()
    old, admin = site.rules.get(path="/old"), site.rules.get(path="/admin")
    operators = Group.objects.get(name="operators")

    for url in (
        page(site, "rule", old.pk),
        page(site, "group", admin.pk, operators.pk),
        page(site, "people"),
    ):
        assert url.replace("&", "&amp;") in body
        assert carlas.get(url).status_code == 200, url


def test_users_who_never_came_are_removed_from_rules_and_groups(site: Application, carlas: Client) -> None:
    before = access(site)

    asked = carlas.get(page(site, "people"))

    assert {name for name, _path in lost(asked)} == {"vera", "walt", "xena", "olaf"}
    assert b"User vera in the group crew" in asked.content
    assert b"User xena in the rule /<" in asked.content
    assert b"has not counted for that long" in asked.content
    assert access(site) == before
    assert confirm(carlas, asked)["Location"] == "/admin/authgate/application/unused-access/?days=90"
    assert list(Group.objects.get(name="crew").user_set.values_list("username", flat=True)) == ["una"]
    assert not Group.objects.get(name="operators").user_set.exists()
    assert not site.rules.filter(users__isnull=False).exists()
    assert AuditEvent.objects.filter(kind="changed", subject="Site", actor="carla").count() == 1
    assert undo_removal(carlas).status_code == 302
    assert access(site) == before


def test_a_membership_that_opens_another_application_shows_it(site: Application, carlas: Client) -> None:
    ApplicationFactory(name="Other", origins=["https://other.example.com"], groups=["crew"])

    asked = carlas.get(page(site, "people"))

    assert {each.name for each in asked.context["effect"].lost} == {"Site", "Other"}


def test_a_group_is_removed_only_from_the_rule(site: Application, carlas: Client) -> None:
    before, admin = access(site), site.rules.get(path="/admin")

    asked = carlas.get(page(site, "group", admin.pk, Group.objects.get(name="operators").pk))

    assert lost(asked) == {("olaf", "/admin")}
    confirm(carlas, asked)
    assert list(admin.groups.values_list("name", flat=True)) == ["crew"]
    assert User.objects.get(username="olaf").groups.exists()
    assert undo_removal(carlas).status_code == 302
    assert access(site) == before


def test_removing_a_rule_shows_what_it_kept_closed(site: Application, carlas: Client) -> None:
    before, old = access(site), site.rules.get(path="/old")

    asked = carlas.get(page(site, "rule", old.pk))

    assert "Rule /old → crew" in asked.content.decode()
    # Without the rule, the rule for the whole site applies to its path, and it also names xena.
    assert {person.username for each in asked.context["effect"].gained for person in each.people} == {"xena"}
    confirm(carlas, asked)
    assert not site.rules.filter(path="/old").exists()
    assert undo_removal(carlas).status_code == 302
    assert access(site) == before


def test_a_user_who_came_meanwhile_stays(site: Application, carlas: Client) -> None:
    asked = carlas.get(page(site, "people"))
    used(site, User.objects.get(username="vera"), site.rules.get(path="/"))

    again = confirm(carlas, asked)

    assert b"different from the one that you saw" in again.content
    assert {name for name, _path in lost(again)} == {"walt", "xena", "olaf"}
    confirm(carlas, again)
    assert User.objects.get(username="vera").groups.exists()


def test_an_outdated_finding_removes_nothing(site: Application, carlas: Client) -> None:
    old = site.rules.get(path="/old")
    used(site, User.objects.get(username="una"), old)

    for url in (page(site, "rule", old.pk), page(site, "rule", 10**15), page(site, "group", old.pk, 7)):
        for method in (carlas.get, carlas.post):
            assert method(url).status_code == 302
            assert "nothing that you can remove" in messages_in(carlas)
    assert site.rules.filter(path="/old").exists()


@pytest.mark.parametrize(
    "query", ["kind=all", "kind=rule&rule=x", "kind=rule&rule=-1", "kind=rule&rule=9" + "9" * 30]
)
def test_odd_queries_cause_no_error(site: Application, carlas: Client, query: str) -> None:
    assert carlas.get(f"/admin/authgate/application/{site.pk}/unused-access/?{query}").status_code == 404


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        ("rule", "delete_rule"),
        ("group", "change_rule"),
        ("people", "change_rule"),
        ("people", "change_user"),
        ("people", "explain_access"),
        ("rule", "change_application"),
    ],
)
def test_staff_need_the_permissions_of_the_same_change_by_hand(
    site: Application, browser_of: Callable[[User], Client], kind: str, lacking: str
) -> None:
    sam = UserFactory(username="sam", is_staff=True)
    sam.user_permissions.set(Permission.objects.exclude(codename=lacking))
    rules = {"rule": site.rules.get(path="/old").pk, "group": site.rules.get(path="/admin").pk}
    url = page(
        site, kind, rules.get(kind, 0), Group.objects.get(name="operators").pk if kind == "group" else 0
    )

    assert browser_of(sam).get(url).status_code == 403
    sam.user_permissions.set(Permission.objects.all())
    assert browser_of(User.objects.get(pk=sam.pk)).get(url).status_code == 200


def test_staff_do_not_remove_users_with_administration_rights(
    site: Application, browser_of: Callable[[User], Client]
) -> None:
    walt = User.objects.get(username="walt")
    User.objects.filter(pk=walt.pk).update(is_staff=True, is_superuser=True)
    sam = UserFactory(username="sam", is_staff=True)
    sam.user_permissions.set(Permission.objects.all())
    sams = browser_of(sam)

    asked = sams.get(page(site, "people"))
    confirm(sams, asked)

    assert b"1 person stays" in asked.content
    assert walt.groups.exists()
    assert not User.objects.get(username="vera").groups.exists()


def test_a_removal_that_the_journal_could_not_undo_is_not_done(
    site: Application, carlas: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authgate.usage.removals.ROWS_LIMIT", 2)

    asked = carlas.get(page(site, "people"))
    confirm(carlas, asked)

    assert b"2 people are left for another time" in asked.content
    assert {name for name, _path in lost(carlas.get(page(site, "people")))} == {"walt", "xena"}
