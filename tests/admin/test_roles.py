"""Roles: named sets of permissions that superusers select, and the pages that each role opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.models import User
from accounts.roles import ROLES, permissions_of
from authgate.models import SignIn
from tests.admin.conftest import permission_keys
from tests.admin.forms import errors_in, form_on, save
from tests.factories import ApplicationFactory, GroupFactory, UserFactory

KEYS = [role.key for role in ROLES]


def change(holder: User | Group) -> str:
    kind = "user" if isinstance(holder, User) else "group"
    return f"/admin/accounts/{kind}/{holder.pk}/change/"


def names_of(holder: Any) -> set[str]:
    permissions = holder.permissions if isinstance(holder, Group) else holder.user_permissions
    rows = permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in rows}


def names_in(*keys: str) -> set[str]:
    return {name for role in ROLES if role.key in keys for name in role.permissions}


@pytest.fixture
def guests(db: None) -> Group:
    guests: Group = GroupFactory(name="guests")
    return guests


@pytest.mark.django_db
@pytest.mark.parametrize("key", KEYS)
def test_every_permission_of_a_role_exists(key: str) -> None:
    assert permissions_of([key]).count() == len(names_in(key))


# ---- assigning roles ----


@pytest.mark.parametrize("key", KEYS)
def test_a_superuser_ticks_a_role_of_a_user(carols: Client, alice: User, key: str) -> None:
    response = save(carols, change(alice), is_staff="on", roles=[key])

    assert errors_in(response) == ""
    assert names_of(alice) == names_in(key)
    assert form_on(carols, change(alice))["roles"] == [key]


def test_a_superuser_ticks_roles_of_a_group(carols: Client, guests: Group) -> None:
    response = save(carols, change(guests), roles=["audit", "sessions"])

    assert response.status_code == 302
    assert names_of(guests) == names_in("audit", "sessions")
    assert form_on(carols, change(guests))["roles"] == ["audit", "sessions"]


@pytest.mark.parametrize("kind", ["user", "group"])
def test_unticking_a_role_removes_permissions_that_no_other_role_needs(
    carols: Client, alice: User, guests: Group, kind: str
) -> None:
    holder = alice if kind == "user" else guests
    save(carols, change(holder), roles=["people", "applications"])

    save(carols, change(holder), roles=["applications"])

    assert names_of(holder) == names_in("applications")
    assert "accounts.view_user" in names_of(holder)


def test_a_single_permission_is_kept_beside_the_roles(carols: Client, alice: User) -> None:
    brand = Permission.objects.get(codename="change_brand")
    save(carols, change(alice), user_permissions=[brand.pk], roles=["audit"])

    save(carols, change(alice), roles=None)

    assert names_of(alice) == {"accounts.change_brand"}


def test_a_partly_held_role_is_not_ticked_and_its_permissions_are_kept(carols: Client, alice: User) -> None:
    alice.user_permissions.set(Permission.objects.filter(codename="view_auditevent"))
    assert form_on(carols, change(alice)).get("roles") == []

    save(carols, change(alice), display_name="A new name")

    assert names_of(alice) == {"authgate.view_auditevent"}


def test_removing_a_permission_from_the_raw_list_unticks_its_role(carols: Client, alice: User) -> None:
    save(carols, change(alice), roles=["audit"])
    kept = Permission.objects.get(codename="view_auditevent")

    save(carols, change(alice), user_permissions=[kept.pk])

    assert names_of(alice) == {"authgate.view_auditevent"}
    assert form_on(carols, change(alice))["roles"] == []


def test_a_new_group_is_created_with_a_role(carols: Client) -> None:
    carols.post("/admin/accounts/group/add/", {"name": "auditors", "roles": ["audit"]})

    assert names_of(Group.objects.get(name="auditors")) == names_in("audit")


def test_an_unknown_role_is_refused(carols: Client, alice: User) -> None:
    response = save(carols, change(alice), roles=["superuser"])

    assert errors_in(response)
    assert names_of(alice) == set()


def test_the_raw_list_of_permissions_is_collapsed(carols: Client, alice: User, guests: Group) -> None:
    for holder in (alice, guests):
        page = carols.get(change(holder)).content.decode()
        folded = page[page.index("<details>") :]
        assert "permissions" in folded
        assert 'name="roles"' in page[: page.index("<details>")]


# ---- staff ----


def test_staff_see_roles_as_text_and_no_list_of_permissions(sams: Client, alice: User, guests: Group) -> None:
    for holder in (alice, guests):
        page = sams.get(change(holder)).content.decode()
        assert 'name="roles"' not in page
        assert 'name="user_permissions"' not in page and 'name="permissions"' not in page
        assert "<details>" not in page


def test_staff_can_read_the_roles_of_a_user(sams: Client, alice: User) -> None:
    alice.user_permissions.set(permissions_of(["audit", "people"]))

    assert "People, Audit" in sams.get(change(alice)).content.decode()


def forbidden_fields() -> dict[str, Any]:
    """Return fields that the forms of staff do not have."""
    keys = permission_keys()
    return {
        "roles": KEYS,
        "user_permissions": keys,
        "permissions": keys,
        "held_roles": KEYS,
        "is_staff": "on",
    }


@pytest.mark.parametrize("page", ["user", "new user", "group", "new group"])
def test_staff_cannot_assign_any_role_not_even_their_own(
    sams: Client, alice: User, guests: Group, page: str
) -> None:
    new = {"usable_password": "true", "password1": "a new secret 123", "password2": "a new secret 123"}
    if page == "user":
        assert save(sams, change(alice), **forbidden_fields()).status_code == 302
    elif page == "group":
        assert save(sams, change(guests), **forbidden_fields()).status_code == 302
    elif page == "new user":
        sams.post("/admin/accounts/user/add/", {"username": "mallory", **new, **forbidden_fields()})
    else:
        sams.post("/admin/accounts/group/add/", {"name": "new", **forbidden_fields()})

    assert not User.objects.filter(user_permissions__isnull=False).exclude(username="sam").exists()
    assert not Group.objects.filter(permissions__isnull=False).exists()
    assert not User.objects.filter(is_staff=True).exclude(username="sam").exists()


@pytest.mark.parametrize("key", KEYS)
def test_staff_cannot_change_a_user_with_a_role(sams: Client, alice: User, key: str) -> None:
    alice.user_permissions.set(permissions_of([key]))

    assert sams.post(change(alice), {"username": "mallory"}).status_code == 403


# ---- what a role opens ----

PAGES = {
    "accounts/user/": {"people", "applications"},
    "accounts/user/add/": {"people"},
    "accounts/group/": {"people", "applications"},
    "accounts/group/add/": {"people"},
    "accounts/invitation/add/": {"people"},
    "accounts/identity/": {"people"},
    "accounts/apitoken/": {"sessions"},
    "authgate/application/": {"applications"},
    "authgate/application/add/": {"applications"},
    "authgate/signin/": {"sessions"},
    "authgate/gatesession/": {"sessions"},
    "authgate/auditevent/": {"audit"},
    "authgate/configurationevent/": {"applications", "audit"},
    "accounts/upstream/": set(),
    "accounts/upstream/add/": set(),
    "accounts/brand/1/change/": set(),
}


@pytest.fixture
def staff_with(browser_of: Callable[[User], Client]) -> Callable[[str], Client]:
    def browser(key: str) -> Client:
        """Return a browser of a staff user who has the role by a group."""
        group = GroupFactory(name=f"holders of {key}")
        group.permissions.set(permissions_of([key]))
        return browser_of(UserFactory(username=f"staff-{key}", is_staff=True, groups=[group.name]))

    return browser


@pytest.mark.parametrize("key", KEYS)
def test_a_role_opens_its_pages_and_no_others(
    staff_with: Callable[[str], Client], db: None, key: str
) -> None:
    browser = staff_with(key)

    found = {page: browser.get(f"/admin/{page}").status_code for page in PAGES}

    assert found == {page: 200 if key in keys else 403 for page, keys in PAGES.items()}


def test_the_role_people_adds_and_changes_users(
    staff_with: Callable[[str], Client], alice: User, carol: User
) -> None:
    browser = staff_with("people")
    new = {"usable_password": "true", "password1": "a new secret 123", "password2": "a new secret 123"}

    browser.post("/admin/accounts/user/add/", {"username": "erin", **new})
    changed = save(browser, change(alice), **{"emailaddress_set-0-email": "new@example.com"})

    alice.refresh_from_db()
    assert User.objects.filter(username="erin").exists()
    assert (changed.status_code, alice.email) == (302, "new@example.com")
    assert browser.post(change(carol), {"username": "mallory"}).status_code == 403


def test_the_role_applications_changes_an_application_with_its_origins(
    staff_with: Callable[[str], Client], db: None
) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.org"])
    browser = staff_with("applications")

    save(
        browser,
        f"/admin/authgate/application/{wiki.pk}/change/",
        name="Wiki 2",
        **{"origins-0-value": "https://wiki2.example.org"},
    )

    wiki.refresh_from_db()
    assert wiki.name == "Wiki 2"
    assert [origin.value for origin in wiki.origins.all()] == ["https://wiki2.example.org"]


def test_the_role_sessions_ends_a_sign_in(
    staff_with: Callable[[str], Client], alice: User, browser_of: Callable[[User], Client]
) -> None:
    browser_of(alice)
    row = SignIn.objects.get(user=alice)
    chosen = {"_selected_action": [row.pk], "action": "end_chosen", "confirmed": "yes"}

    staff_with("audit").post("/admin/authgate/signin/", chosen)
    row.refresh_from_db()
    before = row.ended_at
    staff_with("sessions").post("/admin/authgate/signin/", chosen)

    row.refresh_from_db()
    assert before is None
    assert row.ended_at is not None
