"""Group managers add and remove members of one group, unless this would give or take power."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.models import ManagedGroup, StrictGroup, User
from authgate.models import AuditEvent
from tests.accounts.signing_in import begin_session
from tests.admin.forms import save
from tests.delegation.changes import change
from tests.factories import ApplicationFactory, GroupFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(client: Client, alice: User, team: Group) -> Client:
    begin_session(client, "alice", proven=True)
    return client


def page(group: Group) -> str:
    return f"/accounts/managed/groups/{group.pk}/"


def members(group: Group) -> list[str]:
    return list(User.objects.filter(groups=group).order_by("username").values_list("username", flat=True))


def test_a_manager_adds_and_removes_a_member(manager: Client, team: Group, bob: User) -> None:
    change(manager, page(team), {"name": "Bob"})
    assert members(team) == ["bob"]
    change(manager, page(team), {"remove_user": bob.pk})
    assert members(team) == []

    found = AuditEvent.objects.filter(kind__startswith="group_member_").order_by("pk")
    assert [(each.kind, each.actor, each.subject, each.details) for each in found] == [
        ("group_member_added", "alice", "bob", {"group": "team"}),
        ("group_member_removed", "alice", "bob", {"group": "team"}),
    ]


def make_powerful(group: Group) -> None:
    group.permissions.add(Permission.objects.get(codename="view_user"))


def make_strict(group: Group) -> None:
    StrictGroup.objects.create(group=group)


def make_owner(group: Group) -> None:
    ApplicationFactory().owner_groups.add(group)


@pytest.mark.parametrize("empower", [make_powerful, make_strict, make_owner])
def test_a_manager_cannot_open_a_group_that_gives_power(
    manager: Client, team: Group, bob: User, empower: Any
) -> None:
    assert manager.get(page(team)).status_code == 200
    empower(team)

    assert manager.get(page(team)).status_code == 404
    assert change(manager, page(team), {"name": "bob"}).status_code == 404
    assert page(team) not in manager.get("/accounts/managed/").content.decode()
    assert members(team) == []


@pytest.mark.parametrize("empower", [make_powerful, make_strict, make_owner])
def test_a_manager_cannot_change_a_group_that_gains_power_meanwhile(
    manager: Client, team: Group, bob: User, empower: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts.delegation import groups

    locked = groups._locked
    monkeypatch.setattr(groups, "_locked", lambda *given: (empower(team), locked(*given))[1])

    assert change(manager, page(team), {"name": "bob"}).status_code == 404
    assert members(team) == []


@pytest.mark.parametrize("who", ["carol", "sam"])
def test_users_with_administration_rights_are_neither_added_nor_removed(
    manager: Client, team: Group, carol: User, sam: User, who: str
) -> None:
    change(manager, page(team), {"name": who})
    assert members(team) == []
    user = User.objects.get(username=who)
    team.user_set.add(user)
    change(manager, page(team), {"remove_user": user.pk})

    assert members(team) == [who]


def test_an_unmanaged_group_is_not_found(manager: Client, bob: User) -> None:
    other = GroupFactory(name="other")
    ManagedGroup.objects.create(group=other).managers.set([bob])

    assert manager.get(page(other)).status_code == 404
    assert change(manager, page(other), {"name": "bob"}).status_code == 404
    assert change(manager, page(other), {"remove_user": bob.pk}).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        *[{}, {"name": ""}, {"name": "nobody"}, {"name": "dave"}, {"name": "x" * 200}, {"name": "a\0b"}],
        *[{"remove_user": "0"}, {"remove_user": "x"}, {"remove_user": "9" * 30}, {"name": "%"}],
    ],
)
def test_odd_input_changes_nothing(manager: Client, team: Group, dave: User, fields: dict[str, str]) -> None:
    answer = change(manager, page(team), fields, follow=True)

    assert answer.status_code == 200
    assert members(team) == []


def test_the_list_is_filtered_and_has_pages(
    manager: Client, team: Group, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        team.user_set.add(UserFactory(username=f"person-{number:02}"))
    with django_assert_max_num_queries(14):
        first = manager.get(page(team)).content.decode()
    third = manager.get(page(team), {"page": "3"}).content.decode()
    filtered = manager.get(page(team), {"q": "person-59\0"}).content.decode()

    assert "person-00" in first and "person-59" not in first
    assert "person-59" in third
    assert "person-59" in filtered and "person-00" not in filtered


def test_only_superusers_choose_managers(sams: Client, carols: Client, team: Group, bob: User) -> None:
    url = f"/admin/accounts/group/{team.pk}/change/"
    save(sams, url, managers=[bob.pk])
    assert [user.username for user in team.managed_group.managers.all()] == ["alice"]

    save(carols, url, managers=[bob.pk])
    assert [user.username for user in team.managed_group.managers.all()] == ["bob"]
    assert "bob" in str(AuditEvent.objects.filter(kind="changed").latest("pk").details)


def test_a_user_who_manages_nothing_sees_a_message(client: Client, bob: User) -> None:
    begin_session(client, "bob")

    assert "You do not manage any application or group." in client.get("/accounts/managed/").content.decode()
