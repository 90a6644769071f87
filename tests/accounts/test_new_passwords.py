"""New passwords must not resemble the user's name or address. Forms name the user for password managers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from accounts.onboarding import first_administrator, invitations
from tests.accounts.conftest import PORTAL
from tests.accounts.signing_in import sign_in
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

WANDA = "Wanda Featherstonehaugh"
LIKE_THE_NAME = "featherstonehaugh1"
LIKE_THE_ADDRESS = "quinquireme77"
GOOD = "an even longer horse"
USERNAME_HINT = re.compile(r"<input [^>]*autocomplete=\"username\"[^>]*>")


@pytest.fixture(autouse=True)
def empty_cache(db: None) -> None:
    cache.clear()


@pytest.fixture
def invited(carol: User) -> str:
    """The path of an invitation for quinquireme@example.com."""
    _, link = invitations.invite(email="quinquireme@example.com", groups=[], days=1, inviter=carol)
    return link.removeprefix(PORTAL)


@pytest.fixture
def administrators(db: None) -> str:
    return first_administrator.make_link().removeprefix(PORTAL)


@pytest.fixture
def reset(client: Client, alice: User) -> str:
    User.objects.filter(pk=alice.pk).update(display_name=WANDA)
    alice.refresh_from_db()
    key = default_token_generator.make_token(alice)
    answer = client.get(f"/accounts/password/reset/key/{user_pk_to_url_str(alice)}-{key}/")
    path: str = answer["Location"]
    return path


def choose(client: Client, path: str, password: str, **more: str) -> Any:
    return client.post(path, {**more, "password1": password, "password2": password})


@pytest.mark.parametrize("password", [LIKE_THE_NAME, LIKE_THE_ADDRESS, "newcomer-99"])
def test_an_invited_person_cannot_choose_a_password_like_their_name_or_address(
    client: Client, invited: str, password: str
) -> None:
    answer = choose(client, invited, password, username="newcomer", display_name=WANDA)

    assert "too similar" in answer.content.decode()
    assert not User.objects.filter(username="newcomer").exists()


def test_an_invited_person_can_choose_another_password(client: Client, invited: str) -> None:
    choose(client, invited, GOOD, username="newcomer", display_name=WANDA)

    assert User.objects.get(username="newcomer").email == "quinquireme@example.com"


@pytest.mark.parametrize("password", [LIKE_THE_NAME, LIKE_THE_ADDRESS])
def test_the_first_administrator_cannot_choose_a_password_like_their_name_or_address(
    client: Client, administrators: str, password: str
) -> None:
    answer = choose(
        client,
        administrators,
        password,
        username="root",
        display_name=WANDA,
        email="quinquireme@example.com",
    )

    assert "too similar" in answer.content.decode()
    assert not User.objects.exists()


def test_a_password_reset_refuses_a_password_like_the_users_name(
    client: Client, reset: str, alice: User
) -> None:
    answer = choose(client, reset, LIKE_THE_NAME)

    alice.refresh_from_db()
    assert "too similar" in answer.content.decode()
    assert alice.check_password(PASSWORD)


def test_a_password_change_refuses_a_password_like_the_users_name(client: Client, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(display_name=WANDA)
    sign_in(client, "alice")

    answer = choose(client, "/accounts/password/change/", LIKE_THE_NAME, oldpassword=PASSWORD)

    assert "too similar" in answer.content.decode()


def test_the_form_names_the_user_for_password_managers(client: Client, reset: str) -> None:
    [hint] = USERNAME_HINT.findall(client.get(reset).content.decode())

    assert 'value="alice"' in hint
    assert "hidden" in hint
    assert "name=" not in hint


def test_an_invalid_link_names_no_user(client: Client, alice: User) -> None:
    body = client.get(f"/accounts/password/reset/key/{user_pk_to_url_str(alice)}-abc-def/").content.decode()

    assert "no longer works" in body
    assert "alice" not in body


@pytest.mark.parametrize("form", ["invited", "administrators"])
def test_the_username_field_is_marked_for_password_managers(
    client: Client, form: str, request: pytest.FixtureRequest
) -> None:
    [hint] = USERNAME_HINT.findall(client.get(request.getfixturevalue(form)).content.decode())

    assert 'name="username"' in hint
    assert 'autocapitalize="none"' in hint


def test_a_username_is_saved_in_normalised_form(client: Client, invited: str) -> None:
    """To the database, full-width letters are another name. To readers, they are the same."""
    choose(client, invited, GOOD, username="\N{FULLWIDTH LATIN SMALL LETTER N}ewcomer")

    assert User.objects.get(email="quinquireme@example.com").username == "newcomer"
