"""The pages that set a membership's end: those of users, of groups, and of a group's managers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from accounts.models import ManagedGroup, Membership, User
from authgate.models import AuditEvent
from tests.accounts.signing_in import sign_in
from tests.admin.forms import confirm, errors_in, form_on, save
from tests.factories import PASSWORD, GroupFactory, UserFactory

pytestmark = pytest.mark.django_db

LATER = datetime(2100, 3, 1, 9, 0, 5, tzinfo=timezone.get_default_timezone())
TYPED = "2100-03-01T09:00:05"
SHOWN = "until 1 Mar 2100, 09:00 UTC"


def page(user: User) -> str:
    return f"/admin/accounts/user/{user.pk}/change/"


def ends(user: User) -> dict[str, datetime | None]:
    return dict(user.memberships.values_list("group__name", "ends_at"))


# ---- the page of a user -----------------------------------------------------------------------------------


def test_each_membership_has_an_end_on_the_users_page(carols: Client, alice: User) -> None:
    save(carols, page(alice), **{"memberships-0-ends_at": TYPED})

    shown = carols.get(page(alice)).content.decode()
    listed = carols.get("/admin/accounts/user/").content.decode()
    assert ends(alice) == {"staff": LATER}
    assert f'value="{TYPED}"' in shown
    assert f"staff ({SHOWN})" in listed


def test_an_end_is_removed(carols: Client, alice: User) -> None:
    alice.memberships.update(ends_at=LATER)

    save(carols, page(alice), **{"memberships-0-ends_at": ""})

    assert ends(alice) == {"staff": None}


def test_new_memberships_get_the_end_and_others_keep_theirs(carols: Client, alice: User) -> None:
    staff, crew = Group.objects.get(name="staff"), GroupFactory(name="crew")

    save(carols, page(alice), groups=[staff.pk, crew.pk], groups_until=TYPED)

    assert ends(alice) == {"staff": None, "crew": LATER}


def test_a_new_user_gets_memberships_with_an_end(carols: Client) -> None:
    crew = GroupFactory(name="crew")
    url = "/admin/accounts/user/add/"
    made = {"username": "erin", "usable_password": "false", "groups": [crew.pk], "groups_until": TYPED}

    save(carols, url, **made)

    assert ends(User.objects.get(username="erin")) == {"crew": LATER}


@pytest.mark.parametrize("typed", ["2001-03-03T09:00", "soon", "2100-02-31T09:00", "\0"])
def test_a_wrong_end_is_refused(carols: Client, alice: User, typed: str) -> None:
    for field in ("memberships-0-ends_at", "groups_until"):
        assert errors_in(save(carols, page(alice), **{field: typed}))

    assert ends(alice) == {"staff": None}


def test_a_removed_membership_is_not_restored_by_its_end(carols: Client, alice: User) -> None:
    save(carols, page(alice), groups=None, **{"memberships-0-ends_at": TYPED})

    assert not Membership.everything.filter(user=alice).exists()


def test_a_membership_that_ended_meanwhile_is_not_prolonged(carols: Client, alice: User) -> None:
    alice.memberships.update(ends_at=timezone.now() + timedelta(hours=1))
    fields = form_on(carols, page(alice))
    alice.memberships.update(ends_at=timezone.now() - timedelta(seconds=1))

    carols.post(page(alice), {**fields, "memberships-0-ends_at": TYPED, "groups": []})

    assert ends(alice) == {}


def test_the_change_is_audited_with_both_values(carols: Client, alice: User) -> None:
    save(carols, page(alice), **{"memberships-0-ends_at": TYPED})

    event = AuditEvent.objects.filter(kind="changed").latest("pk")
    [row] = [each for each in event.details["values"] if each.get("model") == "accounts.membership"]
    assert row["fields"][0] | {"old": None, "new": LATER.isoformat()} == row["fields"][0]


@pytest.mark.parametrize(("may", "expected"), [(("user",), None), (("user", "group"), LATER)])
def test_only_users_who_may_change_groups_change_ends(
    browser_of: Callable[[User], Client], alice: User, may: tuple[str, ...], expected: datetime | None
) -> None:
    before = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    alice.memberships.update(ends_at=before)
    helper: User = UserFactory(username="helper", is_staff=True)
    names = [f"{act}_{name}" for name in may for act in ("view", "change")]
    helper.user_permissions.set(
        Permission.objects.filter(codename__in=names, content_type__app_label="accounts")
    )
    browser = browser_of(helper)

    save(browser, page(alice), display_name="Alice P.", **{"memberships-0-ends_at": TYPED})

    alice.refresh_from_db()
    assert (alice.display_name, ends(alice)) == ("Alice P.", {"staff": expected or before})


def test_staff_do_not_change_ends_of_privileged_users(sams: Client, alice: User) -> None:
    Group.objects.get(name="staff").permissions.add(Permission.objects.get(codename="view_user"))
    end = timezone.now() + timedelta(hours=1)
    alice.memberships.update(ends_at=end)

    response = sams.post(
        page(alice),
        {
            "username": "alice",
            "memberships-TOTAL_FORMS": 1,
            "memberships-INITIAL_FORMS": 1,
            "memberships-0-id": alice.memberships.get().pk,
            "memberships-0-user": alice.pk,
            "memberships-0-ends_at": TYPED,
        },
    )

    assert (response.status_code, ends(alice)) == (403, {"staff": end})


# ---- the page of a group ----------------------------------------------------------------------------------


def test_members_are_added_to_a_group_with_an_end(carols: Client, alice: User, bob: User) -> None:
    staff = Group.objects.get(name="staff")
    url = f"/admin/accounts/group/{staff.pk}/change/"

    save(carols, url, add_members=[bob.pk], members_until=TYPED)
    unchanged = ends(alice)
    save(carols, url, add_members=[alice.pk], members_until=TYPED)

    assert (ends(bob)["staff"], unchanged, ends(alice)) == (LATER, {"staff": None}, {"staff": LATER})
    assert f"alice ({SHOWN})" in carols.get(url).content.decode()


def test_members_added_again_without_an_end_keep_theirs(carols: Client, alice: User) -> None:
    alice.memberships.update(ends_at=LATER)
    url = f"/admin/accounts/group/{Group.objects.get(name='staff').pk}/change/"

    save(carols, url, add_members=[alice.pk])

    assert ends(alice) == {"staff": LATER}


def test_a_group_is_deleted_with_its_memberships(carols: Client, alice: User) -> None:
    staff = Group.objects.get(name="staff")

    url = f"/admin/accounts/group/{staff.pk}/delete/"

    asked = carols.get(url)
    confirm(carols, carols.post(url, {"post": "yes"}))

    assert "Group membership:" not in asked.content.decode()
    assert not Group.objects.filter(name="staff").exists()
    assert not Membership.everything.filter(user=alice).exists()


# ---- the page of a group's managers -----------------------------------------------------------------------


@pytest.fixture
def team(alice: User) -> Group:
    group: Group = GroupFactory(name="team")
    ManagedGroup.objects.create(group=group).managers.set([alice])
    return group


@pytest.fixture
def manager(client: Client, team: Group) -> Client:
    sign_in(client, "alice")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def test_a_manager_adds_a_member_with_an_end(manager: Client, team: Group, bob: User) -> None:
    url = f"/accounts/managed/groups/{team.pk}/"

    manager.post(url, {"name": "bob", "until": TYPED})

    assert ends(bob)["team"] == LATER
    assert SHOWN in manager.get(url).content.decode()


def test_a_manager_changes_and_removes_an_end(manager: Client, team: Group, bob: User) -> None:
    url = f"/accounts/managed/groups/{team.pk}/"
    bob.groups.add(team)

    manager.post(url, {"end_of": bob.pk, "until": TYPED})
    changed = ends(bob)["team"]
    manager.post(url, {"end_of": bob.pk, "until": ""})

    assert (changed, ends(bob)["team"]) == (LATER, None)
    events = AuditEvent.objects.filter(kind="group_member_end_changed").order_by("pk")
    assert [(each.actor, each.subject, each.details["until"]) for each in events] == [
        ("alice", "bob", LATER.isoformat()),
        ("alice", "bob", None),
    ]


@pytest.mark.parametrize("typed", ["2001-01-01T00:00", "soon", "\0"])
def test_a_manager_enters_a_wrong_end(manager: Client, team: Group, bob: User, typed: str) -> None:
    url = f"/accounts/managed/groups/{team.pk}/"
    bob.groups.add(team)

    answers = [
        manager.post(url, {"end_of": bob.pk, "until": typed}, follow=True),
        manager.post(url, {"name": "carol", "until": typed}, follow=True),
    ]

    assert [each.status_code for each in answers] == [200, 200]
    assert ends(bob)["team"] is None
    assert team.user_set.count() == 1


def test_a_manager_does_not_prolong_an_ended_membership(manager: Client, team: Group, bob: User) -> None:
    url = f"/accounts/managed/groups/{team.pk}/"
    bob.groups.add(team)
    Membership.objects.filter(group=team).update(ends_at=timezone.now() - timedelta(seconds=1))

    shown = manager.post(url, {"end_of": bob.pk, "until": TYPED}, follow=True).content.decode()

    assert "The user is not a member." in shown
    assert "team" not in ends(bob)
