from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from authgate.models import AuditEvent, SignIn
from tests.accounts.signing_in import is_signed_in
from tests.own_database import in_tables

PASSWORD = "a staple of the battery"
pytestmark = pytest.mark.django_db


def make_link() -> str:
    out = StringIO()
    call_command("first_admin_link", stdout=out)
    return out.getvalue().strip()


@pytest.fixture
def page() -> str:
    return make_link().removeprefix("https://sso.example.com")


def fill_in(client: Client, page: str, **other: str) -> Any:
    form = {"username": "root", "display_name": "", "email": "root@example.com"}
    return client.post(page, {**form, "password1": PASSWORD, "password2": PASSWORD, **other})


def test_the_link_leads_to_the_portal() -> None:
    assert make_link().startswith("https://sso.example.com/first-administrator/")


def test_the_link_creates_an_administrator_and_signs_them_in(client: Client, page: str) -> None:
    assert client.get(page).status_code == 200

    answer = fill_in(client, page)

    made = User.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert (made.username, made.is_superuser, made.is_staff) == ("root", True, True)
    assert is_signed_in(client)
    assert SignIn.objects.get().methods == ["password"]
    assert AuditEvent.objects.filter(kind="first_administrator_made").exists()


def test_the_link_works_once(client: Client, other_browser: Client, page: str) -> None:
    fill_in(client, page)
    User.objects.update(is_superuser=False)

    again = fill_in(other_browser, page, username="second", email="")

    assert again.status_code == 404
    assert "no longer works" in again.content.decode()
    assert User.objects.count() == 1


def test_opening_the_page_does_not_use_up_the_link(client: Client, page: str) -> None:
    client.get(page)
    client.head(page)

    assert client.get(page).status_code == 200


@in_tables
def test_the_link_is_valid_for_an_hour(client: Client) -> None:
    with time_machine.travel("2026-05-01T12:00:00Z", tick=False) as traveller:
        page = make_link().removeprefix("https://sso.example.com")
        traveller.shift(3602)

        assert client.get(page).status_code == 404
        assert fill_in(client, page).status_code == 404


def test_the_link_is_invalid_once_there_is_an_administrator(client: Client, page: str, carol: User) -> None:
    assert client.get(page).status_code == 404
    assert fill_in(client, page).status_code == 404


def test_no_link_is_created_if_there_is_an_administrator(carol: User) -> None:
    with pytest.raises(CommandError, match="An administrator already exists"):
        make_link()


def test_a_link_is_created_if_the_only_administrator_is_disabled(carol: User) -> None:
    User.objects.update(is_active=False)

    assert make_link()


@pytest.mark.parametrize("token", ["x", "a" * 43, "a" * 500, "%00", "..%2F..", "a" * 42 + "%0A"])
def test_forged_links_are_not_found(client: Client, token: str) -> None:
    make_link()

    assert client.get(f"/first-administrator/{token}").status_code == 404


def test_the_cache_does_not_hold_the_token(page: str) -> None:
    token = page.rpartition("/")[2]

    assert caches["codes"].get(f"first-administrator:{token}") is None


@pytest.mark.parametrize(
    "other",
    [
        {"username": ""},
        {"username": "a b"},
        {"password2": "different"},
        {"password1": "password", "password2": "password"},
        {"email": "no address"},
    ],
    ids=repr,
)
def test_a_wrong_form_does_not_use_up_the_link(client: Client, page: str, other: dict[str, str]) -> None:
    answer = fill_in(client, page, **other)

    assert answer.status_code == 200
    assert not User.objects.exists()
    assert fill_in(client, page).status_code == 302


def test_a_name_taken_in_other_letter_case_is_refused(client: Client, page: str, alice: User) -> None:
    answer = fill_in(client, page, username="ALICE")

    assert answer.status_code == 200
    assert User.objects.count() == 1


def test_createsuperuser_works_too(client: Client) -> None:
    call_command("createsuperuser", username="root", email="", interactive=False)

    assert User.objects.get().is_superuser
