from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import PortalSession, User
from authgate.models import SignIn
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import ApplicationFactory

PAGE = "/accounts/logout/"


def test_asking_for_the_page_changes_nothing(client: Client, alice: User) -> None:
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


def test_a_post_from_another_site_signs_nobody_out(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    client.handler.enforce_csrf_checks = True

    answer = client.post(PAGE, HTTP_ORIGIN="https://evil.example")

    assert answer.status_code == 403
    assert is_signed_in(client)


def test_who_is_not_signed_in_is_led_on(client: Client, db: None) -> None:
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
def test_the_way_on_is_judged(client: Client, alice: User, name: str, target: str, location: str) -> None:
    ApplicationFactory(origins=["https://wiki.example.net"])
    sign_in(client, "alice")

    answer = client.post(PAGE, {name: target})

    assert answer.headers["Location"] == location
    assert not is_signed_in(client)


def test_a_second_post_is_no_error(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    client.post(PAGE)

    assert client.post(PAGE).status_code == 302


def test_the_signed_out_page_says_so(client: Client, db: None) -> None:
    assert "You are signed out" in client.get("/signed-out").content.decode()


def test_the_signed_out_page_does_not_say_so_to_who_is_signed_in(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    assert "This browser is signed in as Alice" in client.get("/signed-out").content.decode()


def test_switching_asks_first(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    answer = client.get("/switch-account?next=/signed-out")

    assert "Use another account?" in answer.content.decode()
    assert is_signed_in(client)


def test_switching_signs_out_and_leads_to_the_sign_in_page_with_the_same_next(
    client: Client, alice: User
) -> None:
    sign_in(client, "alice")

    answer = client.post("/switch-account?next=/continue%3Fstate%3Da.b")

    expected = "/accounts/login/?next=https%3A%2F%2Fsso.example.com%2Fcontinue%3Fstate%3Da.b"
    assert answer.headers["Location"] == expected
    assert not is_signed_in(client)


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", ""])
def test_switching_drops_a_next_that_leads_astray(client: Client, alice: User, target: str) -> None:
    sign_in(client, "alice")

    assert client.post("/switch-account", {"next": target}).headers["Location"] == "/accounts/login/"


def test_switching_without_being_signed_in_is_signing_in(client: Client, db: None) -> None:
    assert client.get("/switch-account").headers["Location"] == "/accounts/login/"
