"""A name that looks like another user's is refused in every way to create an account."""

from __future__ import annotations

import hashlib
import string
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.db.models.signals import pre_save
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from accounts.look_alikes import LONGEST_SKELETON, _prototypes, skeleton, skeletons
from accounts.models import User
from accounts.onboarding import first_administrator
from accounts.usernames import is_misleading
from tests.accounts.test_invitations import accept, link
from tests.admin.forms import errors_in, save
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

ALICES = [
    "\u0430lice",  # Cyrillic a
    "al\u0131ce",  # dotless i
    "\u03b1l\u0456\u0441\u0435",  # Greek and Cyrillic, with the l as the only ASCII letter
    "\uff41\uff4c\uff49\uff43\uff45",  # full width
    "\U0001d5ee\U0001d5f9\U0001d5f6\U0001d5f0\U0001d5f2",  # mathematical bold
    "al\u0130ce",  # a capital I with a dot
    "alice\u3164",  # an invisible letter
]
OTHERS = ["al1ce", "a1ice", "alica", "\u00e1lice", "\u7231\u4e3d\u4e1d", "\u0430\u043b\u0438\u0441\u0430"]
LOOKS_ALIKE = "looks the same"
NEW = {"usable_password": "true", "password1": "an even longer horse", "password2": "an even longer horse"}


@pytest.fixture
def carols(client: Client, carol: User) -> Client:
    client.force_login(carol, backend="accounts.backends.PasswordBackend")
    return client


@pytest.mark.parametrize("name", ALICES)
def test_a_look_alike_has_the_skeleton_of_the_name(name: str) -> None:
    assert "alice" in skeletons(name)


@pytest.mark.parametrize("name", OTHERS)
def test_another_name_has_another_skeleton(name: str) -> None:
    assert "alice" not in skeletons(name)


def test_capital_letters_are_compared_with_capital_letters() -> None:
    assert "bob" in skeletons("\u0412\u041e\u0412")
    assert "bob" not in skeletons("\u0432\u043e\u0432")


@given(st.text(string.ascii_letters + string.digits + "@.+-_"))
def test_an_ascii_name_is_its_own_skeleton(name: str) -> None:
    assert skeletons(name) == {name.lower()}


@given(st.text(max_size=150))
def test_the_skeleton_of_any_text_fits_into_its_column(name: str) -> None:
    assert all(len(reading) <= LONGEST_SKELETON for reading in skeletons(name))


def test_the_list_of_letters_is_the_one_that_stored_skeletons_were_made_with() -> None:
    """A new list needs a migration that stores all skeletons again, as 0012 does. Then change this digest."""
    table = "\n".join(f"{letter}\t{to}" for letter, to in sorted(_prototypes().items()))

    assert (
        hashlib.sha256(table.encode()).hexdigest()
        == "53a2b4f2c55ccb8c63378f2e98f1d49e0c08a9fe9b83392c65c81ad241dc7354"
    )


@pytest.mark.parametrize(
    "name",
    ["\u0131nfo", "\u0441\u043e\u0440\u043e\u0441", "\u0455\u0443\u0455\u043e\u0440", "bob\u3164", "\u0661"],
)
def test_a_name_that_imitates_ascii_letters_is_refused(name: str) -> None:
    assert is_misleading(name)


@pytest.mark.parametrize(
    "name", ["info", "wei\u00df", "k\u00e6r", "\u7231\u4e3d\u4e1d", "\u0430\u043b\u0438\u0441\u0430"]
)
def test_names_in_any_script_are_allowed(name: str) -> None:
    assert not is_misleading(name)


# ---- each way to create an account ----


@pytest.mark.parametrize("name", ALICES[1:3])
def test_an_administrator_cannot_add_a_look_alike(carols: Client, alice: User, name: str) -> None:
    response = carols.post("/admin/accounts/user/add/", {"username": name, **NEW})

    assert LOOKS_ALIKE in errors_in(response)
    assert not User.objects.filter(username=name).exists()


def test_an_administrator_cannot_rename_a_user_to_a_look_alike(
    carols: Client, alice: User, bob: User
) -> None:
    response = save(carols, f"/admin/accounts/user/{bob.pk}/change/", username=ALICES[1])

    bob.refresh_from_db()
    assert LOOKS_ALIKE in errors_in(response)
    assert bob.username == "bob"


def test_an_invited_person_cannot_choose_a_look_alike(client: Client, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(skeleton=skeleton("\u0430\u043b\u0438\u0441\u0430"))

    accept(client, link(None), "\u0430\u043b\u0438\u0441\u0430")

    assert not User.objects.filter(username="\u0430\u043b\u0438\u0441\u0430").exists()


def test_the_later_of_two_simultaneous_look_alikes_must_choose_again(client: Client, carol: User) -> None:
    def save_first(instance: User, **kwargs: object) -> None:
        if instance.username == "frank":
            User.objects.bulk_create([User(username="fr\u0430nk")])

    page = link(carol)
    pre_save.connect(save_first, sender=User)
    try:
        answer = accept(client, page, "frank")
    finally:
        pre_save.disconnect(save_first, sender=User)

    assert answer.status_code == 200
    assert "Choose a different name" in answer.content.decode()
    assert not User.objects.filter(username="frank").exists()
    assert accept(client, page, "grace").status_code == 302


def test_the_first_administrator_cannot_be_a_look_alike(client: Client, alice: User) -> None:
    page = first_administrator.make_link().removeprefix("https://sso.example.com")

    answer = client.post(page, {"username": ALICES[1], **NEW})

    assert LOOKS_ALIKE in answer.content.decode()
    assert not User.objects.filter(is_superuser=True).exists()


def test_the_command_creates_no_look_alike(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "an even longer horse")

    with pytest.raises(CommandError, match=LOOKS_ALIKE):
        call_command("createsuperuser", interactive=False, username=ALICES[1], email="")

    assert not User.objects.filter(is_superuser=True).exists()


def test_the_database_accepts_one_of_two_simultaneous_look_alikes(alice: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        UserFactory(username=ALICES[1])
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.bulk_create([User(username=ALICES[1])])


# ---- users who looked alike before ----


@pytest.fixture
def double(alice: User) -> User:
    double: User = UserFactory(username="allce")
    User.objects.filter(pk=double.pk).update(username=ALICES[1], skeleton="alice", skeleton_copy=1)
    double.refresh_from_db()
    return double


def test_existing_look_alikes_can_still_be_saved(carols: Client, alice: User, double: User) -> None:
    for user in (alice, double):
        response = save(carols, f"/admin/accounts/user/{user.pk}/change/", display_name="A new name")

        user.refresh_from_db()
        assert errors_in(response) == ""
        assert user.display_name == "A new name"
        user.save()


def test_a_new_name_is_compared_with_every_existing_look_alike(alice: User, double: User) -> None:
    alice.delete()

    assert User.objects.look_alikes("alice").get() == double


def test_renaming_a_user_frees_the_old_name(alice: User) -> None:
    alice.username = "alicia"
    alice.save(update_fields=["username"])

    assert not User.objects.look_alikes("alice").exists()
    assert User.objects.look_alikes("al\u0131cia").get() == alice


def test_existing_look_alikes_can_sign_in(client: Client, double: User) -> None:
    answer: Any = client.post(
        "/accounts/login/", {"login": double.username, "password": "correct horse battery"}
    )

    assert answer.status_code == 302
