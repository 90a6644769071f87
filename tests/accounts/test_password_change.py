from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from authgate.models import AuditEvent, SignIn
from tests.accounts.signing_in import begin_session, is_signed_in, session_key, sign_in
from tests.factories import PASSWORD

PAGE = "/accounts/password/change/"
NEW = "a staple of the battery"


def change(client: Client, old: str = PASSWORD, new: str = NEW, again: str | None = None) -> Any:
    return client.post(PAGE, {"oldpassword": old, "password1": new, "password2": again or new})


@pytest.fixture
def signed_in(client: Client, alice: User) -> Client:
    begin_session(client, "alice")
    return client


def test_the_page_needs_a_sign_in(client: Client, db: None) -> None:
    assert client.get(PAGE).headers["Location"] == f"/accounts/login/?next={PAGE}"


def test_only_the_new_password_works_afterwards(signed_in: Client, other_browser: Client) -> None:
    answer = change(signed_in)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert sign_in(other_browser, "alice", PASSWORD).status_code == 200
    assert sign_in(other_browser, "alice", NEW).status_code == 302
    assert AuditEvent.objects.filter(kind="password_changed", subject="alice").exists()


def test_the_user_stays_signed_in_and_every_other_browser_is_signed_out(
    signed_in: Client, other_browser: Client
) -> None:
    sign_in(other_browser, "alice")
    before = session_key(signed_in)

    change(signed_in)

    assert is_signed_in(signed_in)
    assert session_key(signed_in) != before
    assert not is_signed_in(other_browser)
    assert SignIn.objects.filter(ended_at=None).count() == 1


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("wrong", NEW, NEW),
        (PASSWORD, NEW, "something else again"),
        (PASSWORD, "short", "short"),
        (PASSWORD, "password123", "password123"),
        (PASSWORD, "alice@example.com", "alice@example.com"),
        (PASSWORD, "x" * 5000, "x" * 5000),
        (PASSWORD, "", ""),
    ],
    ids=["wrong old", "not the same", "short", "common", "like the user", "huge", "empty"],
)
def test_a_wrong_form_changes_nothing(signed_in: Client, old: str, new: str, again: str) -> None:
    answer = change(signed_in, old, new, again)

    assert answer.status_code == 200
    assert is_signed_in(signed_in)
    assert User.objects.get().check_password(PASSWORD)


def test_guessing_the_current_password_is_limited_like_signing_in(signed_in: Client) -> None:
    answers = [change(signed_in, old="wrong").status_code for _ in range(6)]

    assert answers == [200] * 5 + [429]


def test_a_user_without_a_password_sees_a_message(client: Client, alice: User) -> None:
    alice.set_unusable_password()
    alice.save()
    client.force_login(alice)

    assert "Your account has no password" in client.get(PAGE).content.decode()
    assert "Your account has no password" in change(client).content.decode()


def test_confirming_the_identity_asks_for_the_password(signed_in: Client) -> None:
    page = "/accounts/reauthenticate/"

    assert "Confirm that it is you" in signed_in.get(page).content.decode()
    assert "The password is wrong" in signed_in.post(page, {"password": "wrong"}).content.decode()
    assert signed_in.post(page, {"password": PASSWORD, "next": "//evil.example"}).headers["Location"] == "/"
