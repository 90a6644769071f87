"""Names and addresses are compared in any case of ASCII letters, and in no other way, on both databases."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress

from accounts.email_addresses import has_verified_address, is_address_taken
from accounts.models import User
from tests.factories import UserFactory
from tests.front.serving import Database


@pytest.fixture(autouse=True)
def mike(database: Database) -> User:
    return UserFactory(username="mike", email="mike@example.com", verified=True)


@pytest.mark.parametrize("spelling", ["mike", "MIKE", "Mike"])
def test_a_name_is_found_in_any_case(spelling: str, mike: User) -> None:
    assert User.objects.get_by_natural_key(spelling) == mike
    assert is_address_taken(f"{spelling}@Example.com")


@pytest.mark.parametrize("spelling", ["m\u0131ke", "m\u0130ke", "mi\u212ae", "m_ke", "%"])
def test_letters_that_only_match_in_upper_case_differ(spelling: str) -> None:
    assert not User.objects.filter(username__iexact=spelling).exists()
    assert not is_address_taken(f"{spelling}@example.com")


def test_another_mailbox_verifies_no_address(mike: User) -> None:
    robin = UserFactory(username="robin", email="robin@example.com")
    EmailAddress.objects.create(user=robin, email="rob\u0131n@example.com", verified=True)

    verified = User.objects.filter(has_verified_address("pk"))

    assert list(verified) == [mike]
