from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import PortalSession, User
from authgate.models import SignIn
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import ApplicationFactory

PAGE = "/accounts/logout/"


def test_opening_the_page_changes_nothing(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    answer = client.get(PAGE)

    assert answer.status_code == 200
    assert "Alice" in answer.content.decode()
    assert is_signed_in(client)


def test_posting_ends_the_sign_in_and_the_session(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    answer = client.post(PAGE)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/signed-out")
    assert SignIn.objects.get().ended_at is not None
    assert not PortalSession.objects.exists()
    assert not is_signed_in(client)


def test_a_form_on_another_site_signs_nobody_out(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    client.handler.enforce_csrf_checks = True

    answer = client.post(PAGE, HTTP_ORIGIN="https://evil.example")

    assert answer.status_code == 403
    assert is_signed_in(client)


def test_a_visitor_is_redirected_to_the_signed_out_page(client: Client, db: None) -> None:
    assert client.get(PAGE).headers["Location"] == "/signed-out"
    assert client.post(PAGE).headers["Location"] == "/signed-out"


@pytest.mark.parametrize("name", ["rd", "next"])
@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("https://wiki.example.net/bye", "https://wiki.example.net/bye"),
        ("/signed-out", "https://sso.example.com/signed-out"),
        ("https://evil.example/", "/signed-out"),
        ("//evil.example", "/signed-out"),
        ("/\\evil.example", "/signed-out"),
        ("javascript:alert(1)", "/signed-out"),
        ("https://wiki.example.net\t.evil.example", "/signed-out"),
    ],
)
def test_the_redirect_after_sign_out_is_validated(
    client: Client, alice: User, name: str, target: str, location: str
) -> None:
    ApplicationFactory(origins=["https://wiki.example.net"])
    sign_in(client, "alice")

    answer = client.post(PAGE, {name: target})

    assert answer.headers["Location"] == location
    assert not is_signed_in(client)


def test_a_second_post_is_not_an_error(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    client.post(PAGE)

    assert client.post(PAGE).status_code == 302


def test_a_visitor_reads_that_they_are_signed_out(client: Client, db: None) -> None:
    assert "You are signed out" in client.get("/signed-out").content.decode()


def test_a_signed_in_user_does_not_see_the_signed_out_page(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    assert "This browser is signed in as Alice" in client.get("/signed-out").content.decode()


def test_switching_accounts_asks_first(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    answer = client.get("/switch-account?next=/signed-out")

    assert "Use another account?" in answer.content.decode()
    assert is_signed_in(client)


def test_switching_accounts_signs_out_and_keeps_next_on_the_sign_in_page(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    answer = client.post("/switch-account?next=/continue%3Fstate%3Da.b")

    expected = "/accounts/login/?next=https%3A%2F%2Fsso.example.com%2Fcontinue%3Fstate%3Da.b"
    assert answer.headers["Location"] == expected
    assert not is_signed_in(client)


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", ""])
def test_switching_accounts_drops_a_next_to_a_foreign_site(client: Client, alice: User, target: str) -> None:
    sign_in(client, "alice")

    assert client.post("/switch-account", {"next": target}).headers["Location"] == "/accounts/login/"


def test_switching_accounts_without_a_session_leads_to_the_sign_in_page(client: Client, db: None) -> None:
    assert client.get("/switch-account").headers["Location"] == "/accounts/login/"
