from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.contrib.auth.models import Permission

from accounts.backends import PasswordBackend, account_named
from accounts.models import User
from tests.factories import PASSWORD, GroupFactory, UserFactory


class CountingHasher(Argon2PasswordHasher):
    """An Argon2 hasher that counts its hashes. Measuring the time instead would be unreliable."""

    time_cost, memory_cost, parallelism = 1, 8, 1
    computed = 0

    def encode(self, *args: Any, **kwargs: Any) -> str:
        type(self).computed += 1
        return super().encode(*args, **kwargs)

    def verify(self, *args: Any, **kwargs: Any) -> bool:
        type(self).computed += 1
        return super().verify(*args, **kwargs)


@pytest.fixture
def counting(settings: Any) -> type[CountingHasher]:
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    return CountingHasher


@pytest.mark.parametrize(
    "login",
    ["alice", "ALICE", " alice ", "aLiCe", "alice@example.com", "Alice@EXAMPLE.com", "\uff41lice"],
    ids=repr,
)
def test_a_name_or_address_is_found_in_any_letter_case(alice: User, login: str) -> None:
    assert authenticate(username=login, password=PASSWORD) == alice


@pytest.mark.parametrize(
    "login",
    ["", " ", "alic", "alice@", "alice@example.org", "a%", "al_ce", "\0alice", "alice" * 100],
    ids=repr,
)
def test_other_names_find_no_user(alice: User, login: str) -> None:
    assert authenticate(username=login, password=PASSWORD) is None


@pytest.mark.parametrize("password", ["", "Correct horse battery", f"{PASSWORD} ", PASSWORD[:-1]], ids=repr)
def test_other_passwords_are_wrong(alice: User, password: str) -> None:
    assert authenticate(username="alice", password=password) is None


def test_a_disabled_user_is_refused(dave: User) -> None:
    assert authenticate(username="dave", password=PASSWORD) is None
    assert PasswordBackend().get_user(dave.pk) is None


def test_an_unverified_address_finds_no_user(db: None) -> None:
    UserFactory(username="eve", email="eve@example.com", verified=False)

    assert authenticate(username="eve@example.com", password=PASSWORD) is None


def test_an_unverified_copy_of_an_address_does_not_hide_its_owner(alice: User, bob: User) -> None:
    EmailAddress.objects.create(user=bob, email="alice@example.com", verified=False)

    assert account_named("alice@example.com") == alice


def test_letters_outside_ascii_are_compared_in_normalised_form(db: None) -> None:
    jaeger = UserFactory(username="J\u00e4ger")

    assert account_named("J\u00e4GER") == jaeger
    assert account_named("Ja\u0308ger") == jaeger
    assert account_named("Jager") is None


@pytest.mark.parametrize("login", ["alice", "alice@example.com", "nobody", "nobody@example.com", "dave"])
def test_every_look_up_needs_the_same_queries(
    alice: User, dave: User, login: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(2):
        account_named(login)


def test_an_address_does_not_hide_a_username(alice: User, db: None) -> None:
    named = UserFactory(username="sam@example.com")
    EmailAddress.objects.create(user=alice, email="sam@example.com", verified=True)

    assert account_named("sam@example.com") == named


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["right", "wrong", "unknown", "disabled", "unusable", "disabled and wrong"])
def test_every_case_costs_one_hash(who: str, counting: type[CountingHasher]) -> None:
    UserFactory(username="alice")
    UserFactory(username="dave", is_active=False)
    user = UserFactory(username="upstream-only")
    user.set_unusable_password()
    user.save()
    login = {"unknown": "nobody", "unusable": "upstream-only"}.get(
        who, "dave" if "disabled" in who else "alice"
    )
    counting.computed = 0

    authenticate(username=login, password="wrong" if "wrong" in who else PASSWORD)

    assert counting.computed == 1


def test_a_users_own_permissions_and_their_groups_cost_one_query(
    alice: User, django_assert_num_queries: Any
) -> None:
    staff, others = GroupFactory(name="operators"), GroupFactory(name="others")
    alice.groups.add(staff)
    own, both, of_the_group, of_others = Permission.objects.order_by("pk")[:4]
    alice.user_permissions.set([own, both])
    staff.permissions.set([both, of_the_group])
    others.permissions.set([of_others])
    user = User.objects.get(pk=alice.pk)

    with django_assert_num_queries(1):
        found = user.get_all_permissions()

    expected = {f"{each.content_type.app_label}.{each.codename}" for each in (own, both, of_the_group)}
    assert found == expected == user.get_user_permissions() | user.get_group_permissions()


@pytest.mark.django_db
def test_a_disabled_user_has_no_permissions() -> None:
    dave = UserFactory(username="dave", is_active=False)
    dave.user_permissions.set(Permission.objects.all())

    assert dave.get_all_permissions() == set()
