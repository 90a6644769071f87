from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User
from authgate.models import AuditEvent, SignIn
from tests.admin.conftest import permission_keys
from tests.admin.forms import errors_in, messages_in, save
from tests.factories import GroupFactory, UserFactory

USERS = "/admin/accounts/user/"
PASSWORDS = {"usable_password": "true", "password1": "a new secret 123", "password2": "a new secret 123"}


def change(user: User) -> str:
    return f"{USERS}{user.pk}/change/"


def act(client: Client, action: str, *users: User, **more: Any) -> Any:
    chosen = [user.pk for user in users]
    return client.post(USERS, {"_selected_action": chosen, "action": action, "confirmed": "yes", **more})


def test_a_user_is_added_with_an_unverified_address(carols: Client) -> None:
    carols.post(f"{USERS}add/", {"username": "erin", "email": "Erin@Example.com", **PASSWORDS})

    address = EmailAddress.objects.get(user__username="erin")
    assert (address.email, address.primary, address.verified) == ("erin@example.com", True, False)
    assert address.user.check_password("a new secret 123")


@pytest.mark.parametrize("username", ["alice", "ALICE"])
def test_a_name_taken_in_other_letter_case_is_refused_with_words(
    carols: Client, alice: User, bob: User, username: str
) -> None:
    added = carols.post(f"{USERS}add/", {"username": username, **PASSWORDS})
    renamed = save(carols, change(bob), username=username)

    for response in (added, renamed):
        errors = response.context["adminform"].form.errors
        assert list(errors) == ["username"]
        assert "Letter case does not count" in str(errors)


def test_a_name_may_change_its_letter_case(carols: Client, alice: User) -> None:
    save(carols, change(alice), username="Alice")

    alice.refresh_from_db()
    assert alice.username == "Alice"


def test_an_address_taken_in_other_letter_case_is_refused_with_words(carols: Client, alice: User) -> None:
    response = carols.post(f"{USERS}add/", {"username": "erin", "email": "ALICE@example.com", **PASSWORDS})

    assert "Another user has this e-mail address" in errors_in(response)


def addresses(user: User, *rows: tuple[str, str, str]) -> dict[str, Any]:
    """Return the fields of an inline form: rows of (email, verified, primary), the existing address first."""
    fields: dict[str, Any] = {"emailaddress_set-TOTAL_FORMS": len(rows)}
    for number, (email, verified, primary) in enumerate(rows):
        fields |= {
            f"emailaddress_set-{number}-user": user.pk,
            f"emailaddress_set-{number}-email": email,
            f"emailaddress_set-{number}-verified": verified or None,
            f"emailaddress_set-{number}-primary": primary or None,
        }
    return fields


def test_the_primary_address_becomes_the_users_address(carols: Client, alice: User) -> None:
    rows = addresses(alice, ("alice@example.com", "on", ""), ("alice@example.org", "on", "on"))

    response = save(carols, change(alice), **rows)

    alice.refresh_from_db()
    assert errors_in(response) == ""
    assert alice.email == "alice@example.org"
    assert EmailAddress.objects.get(user=alice, primary=True).email == "alice@example.org"


def test_the_new_primary_address_may_be_listed_before_the_old_one(carols: Client, alice: User) -> None:
    first = alice.emailaddress_set.get()
    EmailAddress.objects.filter(pk=first.pk).update(primary=False)
    EmailAddress.objects.create(user=alice, email="alice@example.org", primary=True, verified=True)
    rows = addresses(alice, ("alice@example.com", "on", "on"), ("alice@example.org", "on", ""))

    response = save(carols, change(alice), **rows)

    assert response.status_code == 302
    assert EmailAddress.objects.get(user=alice, primary=True).email == "alice@example.com"


def test_an_unchanged_primary_address_stays_primary_when_another_is_added(
    carols: Client, alice: User
) -> None:
    rows = addresses(alice, ("alice@example.com", "on", "on"), ("alice@example.org", "on", ""))

    save(carols, change(alice), **rows)

    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert EmailAddress.objects.get(user=alice, primary=True).email == "alice@example.com"


def test_a_user_has_no_address_after_the_last_one_is_deleted(carols: Client, alice: User) -> None:
    save(carols, change(alice), **{"emailaddress_set-0-DELETE": "on"})

    alice.refresh_from_db()
    assert (alice.email, alice.emailaddress_set.count()) == ("", 0)


def test_an_address_without_a_row_of_its_own_survives_another_change(carols: Client, alice: User) -> None:
    alice.emailaddress_set.all().delete()

    save(carols, change(alice), display_name="Alice B.")

    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (("alice@example.org", "", "on"), "Only one address can be the primary one"),
        (("ALICE@example.com", "on", ""), "already has this address"),
        (("no address", "", ""), "valid email"),
    ],
    ids=["two primary", "twice", "none"],
)
def test_invalid_addresses_are_refused_with_words(
    carols: Client, alice: User, second: tuple[str, str, str], words: str
) -> None:
    response = save(carols, change(alice), **addresses(alice, ("alice@example.com", "on", "on"), second))

    assert words in errors_in(response)


def test_a_new_address_entered_twice_is_refused_with_words(carols: Client, alice: User) -> None:
    new = ("alice@example.org", "on", "")

    response = save(carols, change(alice), **addresses(alice, ("alice@example.com", "on", "on"), new, new))

    assert "twice" in errors_in(response)


def test_a_new_password_ends_the_users_sign_ins_and_not_the_administrators(
    carols: Client, alice: User, browser_of: Callable[[User], Client]
) -> None:
    browser_of(alice)

    response = carols.post(f"{USERS}{alice.pk}/password/", PASSWORDS)

    assert response.status_code == 302
    assert not SignIn.objects.filter(user=alice, ended_at=None).exists()
    assert carols.get("/admin/").status_code == 200


def test_no_part_of_a_password_hash_is_shown(carols: Client, alice: User) -> None:
    page = carols.get(change(alice)).content.decode()

    assert not any(part in page for part in alice.password.split("$")[1:])


@pytest.mark.parametrize("lookup", ["password__startswith=a", "sign_ins__session_digest__startswith=a"])
def test_lists_cannot_be_filtered_by_secrets(carols: Client, lookup: str) -> None:
    assert carols.get(f"{USERS}?{lookup}").status_code in (302, 400)


def test_ending_all_sign_ins_of_users_asks_first(
    carols: Client, alice: User, browser_of: Callable[[User], Client]
) -> None:
    browser_of(alice)

    response = act(carols, "end_sign_ins", alice, confirmed="")

    assert b"End all sign-ins of these users?" in response.content
    assert SignIn.objects.filter(user=alice, ended_at=None).exists()


def test_ending_all_sign_ins_of_users_ends_them_and_is_recorded(
    carols: Client, alice: User, bob: User, browser_of: Callable[[User], Client]
) -> None:
    alices, bobs = browser_of(alice), browser_of(bob)
    browser_of(alice)

    act(carols, "end_sign_ins", alice)

    event = AuditEvent.objects.get(kind="session_ended")
    assert alices.get("/").status_code == 302
    assert bobs.get("/").status_code == 200
    assert (event.actor, event.subject, event.details) == ("carol", "alice", {"sign_ins": 2})


def test_all_users_of_a_list_can_be_selected_across_pages(carols: Client, alice: User, bob: User) -> None:
    asked = act(carols, "enable", alice, confirmed="", select_across="1")

    assert b'name="select_across" value="1"' in asked.content


def test_disabling_ends_sign_ins_and_enabling_restores_none(
    carols: Client, alice: User, browser_of: Callable[[User], Client]
) -> None:
    alices = browser_of(alice)

    act(carols, "disable", alice)
    act(carols, "enable", alice)

    alice.refresh_from_db()
    assert alice.is_active
    assert alices.get("/").status_code == 302
    assert AuditEvent.objects.filter(kind="changed", actor="carol", subject="alice").count() == 2


@pytest.mark.parametrize("action", ["disable", "enable", "end_sign_ins", "delete_selected"])
def test_actions_need_their_permission(
    alice: User, bob: User, browser_of: Callable[[User], Client], action: str
) -> None:
    from django.contrib.auth.models import Permission

    User.objects.filter(pk=alice.pk).update(is_staff=True)
    alice.user_permissions.set(Permission.objects.filter(codename="view_user"))

    act(browser_of(alice), action, bob, post="yes")

    assert User.objects.filter(pk=bob.pk, is_active=True).exists()
    assert not AuditEvent.objects.filter(kind="session_ended").exists()


@pytest.mark.parametrize("key", ["x", "", "-1", "1 OR 1=1", "9" * 30, "\0"])
def test_an_action_with_a_malformed_key_is_refused(carols: Client, key: str) -> None:
    response = carols.post(USERS, {"_selected_action": key, "action": "disable", "confirmed": "yes"})

    assert response.status_code == 400


def test_deleting_users_deletes_their_sign_ins_and_is_recorded(
    carols: Client, alice: User, bob: User, browser_of: Callable[[User], Client]
) -> None:
    browser_of(alice)

    act(carols, "delete_selected", alice, post="yes")
    carols.post(f"{USERS}{bob.pk}/delete/", {"post": "yes"})

    deleted = AuditEvent.objects.filter(kind="deleted").values_list("subject", flat=True)
    assert sorted(deleted) == ["alice", "bob"]
    assert not User.objects.filter(username__in=["alice", "bob"]).exists()


def test_staff_may_delete_ordinary_users(
    sams: Client, alice: User, browser_of: Callable[[User], Client]
) -> None:
    browser_of(alice)

    sams.post(f"{USERS}{alice.pk}/delete/", {"post": "yes"})

    assert not User.objects.filter(pk=alice.pk).exists()


def test_the_page_of_a_user_shows_only_the_newest_sign_ins(
    carols: Client, alice: User, browser_of: Callable[[User], Client]
) -> None:
    browser_of(alice)
    sign_in = SignIn.objects.get(user=alice)
    for number in range(30):
        sign_in.pk, sign_in.uuid, sign_in.session_digest = None, f"{number:032}", f"{number}"  # type: ignore[assignment]
        sign_in.save(force_insert=True)

    page = carols.get(change(alice)).content

    assert (
        page.count(b"/admin/authgate/signin/")
        - page.count(b"/admin/authgate/signin/?")
        - page.count(b'/admin/authgate/signin/"')
        == 20
    )


def test_a_change_is_recorded_with_its_values_and_logged_without_them(
    carols: Client, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ikd.security"):
        save(carols, change(alice), display_name="Something private", is_staff="on")

    event = AuditEvent.objects.get(kind="changed")
    lines = [str(vars(line)) for line in caplog.records if line.name == "ikd.security"]
    assert (event.actor, event.subject, event.address) == ("carol", "alice", "127.0.0.1")
    assert event.details["changes"] == [{"changed": {"fields": ["Display name", "Staff status"]}}]
    assert [value["new"] for value in event.details["values"]] == ["Something private", True]
    assert any("Staff status" in line for line in lines) and not any("private" in line for line in lines)


def test_saving_without_a_change_records_nothing(carols: Client, alice: User) -> None:
    save(carols, change(alice))

    assert not AuditEvent.objects.filter(kind="changed").exists()


def test_a_password_change_is_recorded_without_the_password(carols: Client, alice: User) -> None:
    carols.post(f"{USERS}{alice.pk}/password/", PASSWORDS)

    event = AuditEvent.objects.get(kind="changed")
    assert event.details["changes"] == [{"changed": {"fields": ["password"]}}]


def test_members_are_added_and_removed_and_recorded(carols: Client, alice: User, bob: User) -> None:
    guests = Group.objects.get(name="guests")

    response = save(
        carols,
        f"/admin/accounts/group/{guests.pk}/change/",
        add_members=[alice.pk],
        remove_members=[bob.pk],
    )

    changes = AuditEvent.objects.get(kind="changed").details["changes"]
    assert errors_in(response) == ""
    assert [user.username for user in guests.user_set.all()] == ["alice"]
    assert {"added": {"name": "member", "object": "alice"}} in changes
    assert {"deleted": {"name": "member", "object": "bob"}} in changes


def test_a_group_is_added_with_members_and_permissions(carols: Client, alice: User) -> None:
    chosen = {"name": "ops", "permissions": permission_keys(), "add_members": [alice.pk]}
    carols.post("/admin/accounts/group/add/", chosen)

    ops = Group.objects.get(name="ops")
    assert (list(ops.user_set.all()), ops.permissions.count()) == ([alice], 1)


SEARCHED = [
    ("accounts", "user", "groups", "gue", ["guests"]),
    ("authgate", "rule", "users", "ali", ["alice"]),
    ("authgate", "rule", "groups", "sta", ["staff"]),
    ("authgate", "application", "named_groups", "none", []),
]


@pytest.mark.parametrize(("app", "model", "field", "term", "found"), SEARCHED)
def test_autocomplete_finds_groups_and_users(
    sams: Client, alice: User, bob: User, app: str, model: str, field: str, term: str, found: list[str]
) -> None:
    query = {"app_label": app, "model_name": model, "field_name": field, "term": term}

    answer = sams.get("/admin/autocomplete/", query).json()

    assert [row["text"] for row in answer["results"]] == found


def test_autocomplete_needs_the_permission_to_view(alice: User, browser_of: Callable[[User], Client]) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    query = {"app_label": "accounts", "model_name": "user", "field_name": "groups", "term": "a"}

    assert browser_of(alice).get("/admin/autocomplete/", query).status_code == 403


@pytest.mark.parametrize("term", ["alice@example.org", "ALICE"])
def test_users_are_found_by_any_of_their_addresses(carols: Client, alice: User, bob: User, term: str) -> None:
    EmailAddress.objects.create(user=alice, email="alice@example.org")

    found = carols.get(USERS, {"q": term}).context["cl"].result_list

    assert [user.username for user in found] == ["alice"]


@pytest.mark.usefixtures("known_brand")
def test_the_list_of_users_needs_the_same_queries_for_many(
    carols: Client, django_assert_num_queries: Any
) -> None:
    for number in range(50):
        UserFactory(groups=["staff", f"group-{number % 5}"])

    with django_assert_num_queries(8):
        carols.get(USERS)


@pytest.mark.usefixtures("known_brand")
def test_the_list_of_groups_needs_the_same_queries_for_many(
    carols: Client, alice: User, django_assert_num_queries: Any
) -> None:
    GroupFactory.create_batch(50)

    with django_assert_num_queries(6):
        carols.get("/admin/accounts/group/")


def test_the_later_of_two_who_save_the_same_name_gets_an_error_message(carols: Client, alice: User) -> None:
    from django.db.models.signals import pre_save

    def save_first(sender: Any, instance: User, **kwargs: Any) -> None:
        if not instance.pk:
            User.objects.bulk_create([User(username="Erin")])

    pre_save.connect(save_first, sender=User)
    try:
        response = carols.post(f"{USERS}add/", {"username": "erin", **PASSWORDS})
    finally:
        pre_save.disconnect(save_first, sender=User)

    assert response.status_code == 302
    assert "nothing was saved" in messages_in(carols)
    assert not User.objects.filter(username__iexact="erin").exists()
