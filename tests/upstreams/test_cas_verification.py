"""/auth/verification at the portal: a single-page application asks for the signed-in user."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tests.accounts.signing_in import sign_in

PATH = "/auth/verification"
LOCATION = "https://sso.example.com/auth/ssologin"


@pytest.mark.usefixtures("db")
def test_without_a_sign_in_the_answer_has_the_sign_in_address(client: Client) -> None:
    answer = client.get(PATH)

    assert answer.status_code == 401
    assert answer.json() == {"error": "sign_in_required", "location": LOCATION, "targetURL": LOCATION}
    assert (answer["targetURL"], answer.headers.get("username")) == (LOCATION, None)
    assert "no-store" in answer["Cache-Control"]


def test_a_signed_in_user_gets_their_name(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    answer = client.get(PATH)

    assert (answer.status_code, answer.json(), answer["username"]) == (200, {"username": "alice"}, "alice")


def test_a_name_beyond_ascii_is_encoded_in_the_header(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    User.objects.filter(pk=alice.pk).update(username="孟\r\nX: y")

    answer = client.get(PATH)

    assert (answer.status_code, answer["username"]) == (200, "%E5%AD%9F%0D%0AX: y")


def test_an_ended_sign_in_does_not_count(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert client.get(PATH).status_code == 401


def test_verification_is_not_found_on_another_host(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    assert client.get(PATH, HTTP_HOST="app.example.com").status_code == 404


@pytest.mark.usefixtures("db")
def test_verification_accepts_only_get(client: Client) -> None:
    assert client.post(PATH).status_code == 405
