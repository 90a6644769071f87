"""Staff with every permission gain no power over staff, superusers or groups with permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import StrictGroup, User
from authgate.models import SignIn
from tests.admin.conftest import permission_keys
from tests.admin.forms import errors_in, form_on, messages_in, save
from tests.factories import PASSWORD, ApplicationFactory, GroupFactory, UserFactory


@pytest.fixture
def operators(db: None) -> Group:
    """A group with permissions."""
    group: Group = GroupFactory(name="operators")
    group.permissions.add(Permission.objects.first())
    return group


@pytest.fixture
def privileged(carol: User, sam: User, operators: Group) -> dict[str, User]:
    by_group: User = UserFactory(username="gus")
    by_group.groups.add(operators)
    own: User = UserFactory(username="pat")
    own.user_permissions.add(Permission.objects.first())
    return {"a superuser": carol, "oneself": sam, "by a group": by_group, "by permission": own}


KINDS = ["a superuser", "oneself", "by a group", "by permission"]


def change(user: User) -> str:
    return f"/admin/accounts/user/{user.pk}/change/"


@pytest.mark.parametrize("kind", KINDS)
def test_staff_may_view_but_not_change_privileged_users(
    sams: Client, privileged: dict[str, User], kind: str
) -> None:
    user = privileged[kind]

    looked = sams.get(change(user))
    sent = sams.post(change(user), {"username": "mallory", "email": "m@example.com", "is_active": ""})

    user.refresh_from_db()
    assert (looked.status_code, sent.status_code) == (200, 403)
    assert user.username != "mallory"


@pytest.mark.parametrize("kind", KINDS)
def test_staff_may_not_change_addresses_of_privileged_users(
    sams: Client, privileged: dict[str, User], kind: str
) -> None:
    user = privileged[kind]
    inline = {
        "emailaddress_set-TOTAL_FORMS": 1,
        "emailaddress_set-INITIAL_FORMS": 0,
        "emailaddress_set-0-email": "mallory@example.com",
        "emailaddress_set-0-verified": "on",
        "emailaddress_set-0-primary": "on",
    }

    response = sams.post(change(user), {"username": user.username, **inline})

    assert response.status_code == 403
    assert not EmailAddress.objects.filter(email="mallory@example.com").exists()


@pytest.mark.parametrize("kind", ["a superuser", "by a group", "by permission"])
def test_staff_may_not_set_the_password_of_privileged_users(
    sams: Client, privileged: dict[str, User], kind: str
) -> None:
    user = privileged[kind]
    url = f"/admin/accounts/user/{user.pk}/password/"

    opened = sams.get(url)
    sent = sams.post(
        url, {"usable_password": "true", "password1": "a new secret 123", "password2": "a new secret 123"}
    )

    user.refresh_from_db()
    assert (opened.status_code, sent.status_code) == (403, 403)
    assert user.check_password(PASSWORD)


@pytest.mark.parametrize("name", ["{}", " {}", "{} ", "0{}", "+{}"])
def test_staff_cannot_set_their_own_password_by_another_spelling_of_their_number(
    sams: Client, sam: User, name: str
) -> None:
    url = f"/admin/accounts/user/{name.format(sam.pk)}/password/"

    sams.post(
        url, {"usable_password": "true", "password1": "a new secret 123", "password2": "a new secret 123"}
    )

    sam.refresh_from_db()
    assert sam.check_password(PASSWORD)


@pytest.mark.parametrize("is_strict", [True, False])
def test_staff_cannot_change_whether_a_group_requires_a_second_factor(sams: Client, is_strict: bool) -> None:
    guests = GroupFactory(name="guests")
    if is_strict:
        StrictGroup.objects.create(group=guests)

    response = save(
        sams,
        f"/admin/accounts/group/{guests.pk}/change/",
        name="visitors",
        second_factor=None if is_strict else "on",
    )

    guests.refresh_from_db()
    assert (response.status_code, guests.name) == (302, "visitors")
    assert StrictGroup.objects.exists() is is_strict


def test_staff_cannot_give_tokens_of_providers_to_an_application(sams: Client, carols: Client) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.org"])
    url = f"/admin/authgate/application/{wiki.pk}/change/"

    sent = save(sams, url, name="Wiki 2", access_token="on", id_token="on")
    wiki.refresh_from_db()
    assert (sent.status_code, wiki.name) == (302, "Wiki 2")
    assert not (wiki.access_token or wiki.id_token)

    assert save(carols, url, access_token="on").status_code == 302
    wiki.refresh_from_db()
    assert wiki.access_token


@pytest.mark.parametrize("wish", ["access_token", "id_token"])
def test_staff_cannot_move_an_application_that_gets_tokens_of_providers(
    sams: Client, carols: Client, wish: str
) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.org"])
    url = f"/admin/authgate/application/{wiki.pk}/change/"
    before = form_on(sams, url)
    type(wiki).objects.update(**{wish: True})

    moved = before | {"origins-0-value": "https://sams.example.com"}
    added = before | {"origins-TOTAL_FORMS": 2, "origins-1-value": "https://sams.example.com"}
    for fields in (moved, added, before | {"origins-0-DELETE": "on"}):
        sams.post(url, fields)
        assert [origin.value for origin in wiki.origins.all()] == ["https://wiki.example.org"]

    assert save(carols, url, **{"origins-0-value": "https://new.example.org"}).status_code == 302
    assert [origin.value for origin in wiki.origins.all()] == ["https://new.example.org"]


@pytest.mark.parametrize("kind", ["a superuser", "by a group", "by permission"])
def test_staff_may_not_delete_privileged_users(sams: Client, privileged: dict[str, User], kind: str) -> None:
    user = privileged[kind]

    response = sams.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"})

    assert response.status_code == 403
    assert User.objects.filter(pk=user.pk).exists()


@pytest.mark.parametrize("action", ["disable", "enable", "end_sign_ins", "delete_selected"])
@pytest.mark.parametrize("kind", ["a superuser", "by a group", "by permission"])
def test_no_action_of_staff_affects_privileged_users(
    sams: Client,
    browser_of: Callable[[User], Client],
    privileged: dict[str, User],
    alice: User,
    kind: str,
    action: str,
) -> None:
    user = privileged[kind]
    browser_of(user)
    browser_of(alice)

    chosen = {"_selected_action": [alice.pk, user.pk], "action": action, "confirmed": "yes", "post": "yes"}
    sams.post("/admin/accounts/user/", chosen)

    assert f"Only superusers can do this to staff: {user.username}." in messages_in(sams)
    assert User.objects.filter(pk__in=[alice.pk, user.pk], is_active=True).count() == 2
    assert SignIn.objects.filter(user__in=[alice, user], ended_at=None).count() == 2


@pytest.mark.parametrize("page", ["authgate/signin", "authgate/gatesession"])
def test_staff_may_not_end_sessions_of_superusers(
    sams: Client, carol: User, browser_of: Callable[[User], Client], page: str
) -> None:
    browser_of(carol)
    sign_in = SignIn.objects.get(user=carol)
    gate = sign_in.gate_sessions.create(
        origin="https://wiki.example.com", token_digest=b"x" * 32, created_at=sign_in.started_at
    )

    chosen = {"_selected_action": [sign_in.pk if page.endswith("signin") else gate.pk]}
    sams.post(f"/admin/{page}/", {**chosen, "action": "end_chosen", "confirmed": "yes"})

    sign_in.refresh_from_db()
    gate.refresh_from_db()
    assert "Only superusers" in messages_in(sams)
    assert (sign_in.ended_at, gate.ended_at) == (None, None)


CRAFTED = {
    "is_staff": "on",
    "is_superuser": "on",
    "user_permissions": ["1", "2"],
    "password": "x",
    "uuid": "x",
}


def test_crafted_fields_give_an_ordinary_user_no_power(sams: Client, alice: User) -> None:
    before = alice.password

    response = save(sams, change(alice), display_name="Alice B.", email="m@example.com", **CRAFTED)

    alice.refresh_from_db()
    assert response.status_code == 302
    assert (alice.display_name, alice.is_staff, alice.is_superuser) == ("Alice B.", False, False)
    assert not alice.user_permissions.exists()
    assert (alice.email, alice.password) == ("alice@example.com", before)


@pytest.mark.parametrize("extra", [{}, {"_saveasnew": "1"}, {"_to_field": "id"}])
def test_crafted_fields_give_a_new_user_no_power(sams: Client, extra: dict[str, str]) -> None:
    passwords = {"usable_password": "true", "password1": "a new secret 123", "password2": "a new secret 123"}

    sams.post("/admin/accounts/user/add/", {"username": "mallory", **passwords, **CRAFTED, **extra})

    mallory = User.objects.get(username="mallory")
    assert (mallory.is_staff, mallory.is_superuser) == (False, False)
    assert not mallory.user_permissions.exists()


def test_saving_an_existing_user_as_a_new_one_gives_no_power(sams: Client, alice: User) -> None:
    passwords = {"usable_password": "true", "password1": "a new secret 123", "password2": "a new secret 123"}

    sams.post(change(alice), {"username": "mallory", **passwords, **CRAFTED, "_saveasnew": "1"})

    assert not User.objects.filter(username="mallory", is_staff=True).exists()


def test_staff_may_not_add_anybody_to_a_group_with_permissions(
    sams: Client, alice: User, operators: Group
) -> None:
    response = save(sams, change(alice), groups=[operators.pk])

    assert "groups with permissions: operators" in errors_in(response)
    assert not alice.groups.filter(pk=operators.pk).exists()


def test_staff_may_add_ordinary_users_to_ordinary_groups(sams: Client, alice: User) -> None:
    guests = GroupFactory(name="guests")

    save(sams, change(alice), groups=[guests.pk])

    assert list(alice.groups.all()) == [guests]


def test_staff_may_not_change_a_group_with_permissions(sams: Client, alice: User, operators: Group) -> None:
    url = f"/admin/accounts/group/{operators.pk}/change/"

    changed = sams.post(url, {"name": "x", "permissions": [], "add_members": [alice.pk]})
    deleted = sams.post(f"/admin/accounts/group/{operators.pk}/delete/", {"post": "yes"})

    assert (changed.status_code, deleted.status_code) == (403, 403)
    assert not operators.user_set.exists()


def test_staff_may_not_give_permissions_to_a_group_they_are_in(sams: Client, sam: User) -> None:
    guests = GroupFactory(name="guests")
    sam.groups.add(guests)

    save(sams, f"/admin/accounts/group/{guests.pk}/change/", permissions=permission_keys(2))
    sams.post("/admin/accounts/group/add/", {"name": "new", "permissions": permission_keys()})

    assert not Group.objects.filter(permissions__isnull=False).exists()


@pytest.mark.parametrize("field", ["add_members", "remove_members"])
@pytest.mark.parametrize("kind", KINDS)
def test_staff_may_not_change_the_groups_of_privileged_users(
    sams: Client, privileged: dict[str, User], kind: str, field: str
) -> None:
    user = privileged[kind]
    guests = GroupFactory(name="guests")
    if field == "remove_members":
        user.groups.add(guests)
    before = set(user.groups.all())

    response = save(sams, f"/admin/accounts/group/{guests.pk}/change/", **{field: [user.pk]})

    assert f"groups of staff: {user.username}" in errors_in(response)
    assert set(user.groups.all()) == before


@pytest.mark.parametrize("by", ["page", "action"])
def test_staff_may_not_delete_a_group_of_a_privileged_user(sams: Client, carol: User, by: str) -> None:
    guests = GroupFactory(name="guests")
    carol.groups.add(guests)

    if by == "page":
        sams.post(f"/admin/accounts/group/{guests.pk}/delete/", {"post": "yes"})
    else:
        chosen = {"_selected_action": guests.pk, "action": "delete_selected", "post": "yes"}
        sams.post("/admin/accounts/group/", chosen)

    assert carol.groups.filter(pk=guests.pk).exists()


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("email", ["Carol@Example.com", "Carol@Example.org"], ids=["primary", "another"])
def test_no_user_can_be_given_the_address_of_another_user(
    sams: Client, alice: User, carol: User, email: str, verified: bool
) -> None:
    EmailAddress.objects.create(user=carol, email="carol@example.org")
    EmailAddress.objects.filter(user=carol).update(verified=verified)
    added = {
        "emailaddress_set-TOTAL_FORMS": 2,
        "emailaddress_set-1-email": email,
        "emailaddress_set-1-verified": "on",
        "emailaddress_set-1-user": alice.pk,
        "emailaddress_set-1-id": "",
    }

    response = save(sams, change(alice), **added)

    assert "Another user has this e-mail address" in errors_in(response)
    assert alice.emailaddress_set.count() == 1


@pytest.mark.parametrize("email", ["Carol@Example.com", "Carol@Example.org"], ids=["primary", "another"])
def test_no_username_can_be_the_address_of_another_user(
    sams: Client, alice: User, carol: User, email: str
) -> None:
    EmailAddress.objects.create(user=carol, email="carol@example.org")

    changed = save(sams, change(alice), username=email)
    sams.post("/admin/accounts/user/add/", {"username": email, "usable_password": "false"})

    assert "Another user has this e-mail address" in errors_in(changed)
    assert not User.objects.filter(username__iexact=email).exists()


def test_an_inline_form_cannot_change_a_row_of_another_user(sams: Client, alice: User, carol: User) -> None:
    hers = carol.emailaddress_set.get()

    save(
        sams,
        change(alice),
        **{"emailaddress_set-0-id": hers.pk, "emailaddress_set-0-email": "mallory@example.com"},
    )

    hers.refresh_from_db()
    assert (hers.email, hers.user) == ("carol@example.com", carol)


@pytest.mark.parametrize("page", ["history", "change", "delete"])
def test_staff_without_permission_do_not_learn_which_rows_exist(
    browser_of: Callable[[User], Client], alice: User, page: str
) -> None:
    browser = browser_of(UserFactory(username="nora", is_staff=True))

    answers = [browser.get(f"/admin/accounts/user/{key}/{page}/") for key in (alice.pk, 999_999)]

    assert [answer.status_code for answer in answers] == [403, 403]


def test_staff_see_no_values_in_the_history_of_a_superuser(sams: Client, carols: Client) -> None:
    cleo = UserFactory(username="cleo", is_superuser=True)
    save(carols, change(cleo), display_name="A new name")

    response = sams.get(f"/admin/accounts/user/{cleo.pk}/history/")

    assert b"Display name" in response.content
    assert b"A new name" not in response.content


def test_superusers_can_create_staff_and_superusers(carols: Client, alice: User) -> None:
    response = save(
        carols, change(alice), is_staff="on", is_superuser="on", user_permissions=permission_keys()
    )

    alice.refresh_from_db()
    assert errors_in(response) == ""
    assert (alice.is_staff, alice.is_superuser, alice.user_permissions.count()) == (True, True, 1)


def test_staff_without_permissions_see_and_do_nothing(
    alice: User, bob: User, browser_of: Callable[[User], Client]
) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    alices = browser_of(alice)

    pages = [change(bob), "/admin/accounts/user/", "/admin/authgate/signin/", "/admin/authgate/application/"]

    assert [alices.get(page).status_code for page in pages] == [403] * 4


LOSING: dict[str, dict[str, Any]] = {
    "disabled": {"is_active": None},
    "no longer staff": {"is_staff": None},
    "no longer superuser": {"is_superuser": None},
}


@pytest.mark.parametrize("changes", LOSING.values(), ids=LOSING)
def test_the_last_superuser_cannot_be_demoted(carols: Client, carol: User, changes: dict[str, Any]) -> None:
    response = save(carols, change(carol), **changes)

    carol.refresh_from_db()
    assert errors_in(response)
    assert carol.is_active and carol.is_staff and carol.is_superuser


@pytest.mark.parametrize("changes", list(LOSING.values())[1:], ids=list(LOSING)[1:])
def test_one_of_two_superusers_can_be_demoted(carols: Client, carol: User, changes: dict[str, Any]) -> None:
    UserFactory(username="cleo", is_staff=True, is_superuser=True)

    response = save(carols, change(carol), **changes)

    assert response.status_code == 302


def test_nobody_can_disable_themselves(carols: Client, carol: User) -> None:
    UserFactory(username="cleo", is_staff=True, is_superuser=True)

    response = save(carols, change(carol), is_active=None)

    assert "You cannot disable yourself" in errors_in(response)


def test_a_disabled_superuser_does_not_count_as_another_one(carols: Client, carol: User) -> None:
    UserFactory(username="cleo", is_staff=True, is_superuser=True, is_active=False)

    response = save(carols, change(carol), is_superuser=None)

    assert "last superuser" in errors_in(response)


@pytest.mark.parametrize("action", ["disable", "delete_selected"])
def test_no_action_disables_or_deletes_the_administrator_who_runs_it(
    carols: Client, carol: User, action: str
) -> None:
    UserFactory(username="cleo", is_staff=True, is_superuser=True)

    chosen = {"_selected_action": carol.pk, "action": action, "confirmed": "yes", "post": "yes"}
    carols.post("/admin/accounts/user/", chosen)

    carol.refresh_from_db()
    assert "You selected yourself" in messages_in(carols)
    assert carol.is_active


def test_nobody_can_delete_themselves(carols: Client, carol: User) -> None:
    UserFactory(username="cleo", is_staff=True, is_superuser=True)

    response = carols.post(f"/admin/accounts/user/{carol.pk}/delete/", {"post": "yes"})

    assert response["Location"] == change(carol)
    assert "You selected yourself" in messages_in(carols)
    assert User.objects.filter(pk=carol.pk).exists()


def test_a_superuser_disables_another_and_stays_active(carols: Client, carol: User) -> None:
    cleo = UserFactory(username="cleo", is_staff=True, is_superuser=True)
    User.objects.filter(pk=carol.pk).update(is_staff=True)

    chosen = {"_selected_action": [cleo.pk], "action": "disable", "confirmed": "yes"}
    carols.post("/admin/accounts/user/", chosen)

    cleo.refresh_from_db()
    assert not cleo.is_active
    assert form_on(carols, change(carol))["is_active"]


def test_pages_that_are_only_read_take_no_database_lock(carols: Client, alice: User) -> None:
    """The page that asks before a deletion is not among them: it tries the deletion to show its effect."""
    pages = ["", f"{alice.pk}/change/", f"{alice.pk}/password/"]

    with CaptureQueriesContext(connection) as queries:
        for page in pages:
            carols.get(f"/admin/accounts/user/{page}")

    assert not [query for query in queries if "SAVEPOINT" in query["sql"]]
