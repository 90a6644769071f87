from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tests.accounts.signing_in import session_key, sign_in

NAME = "__Host-ikd_portal"


def launcher_status(client: Client, cookie: str) -> int:
    """Request the launcher with this Cookie header, as bytes in latin-1, which is how servers pass it on."""
    client.cookies.clear()
    return client.get("/", HTTP_COOKIE=cookie.encode().decode("latin-1")).status_code


@pytest.fixture
def key(client: Client, alice: User) -> str:
    sign_in(client, "alice")
    return session_key(client)


@pytest.mark.parametrize("cookie", ["{name}={key}", "a=b; {name}={key}", "a=b;\t{name} = {key} ;c"])
def test_the_exact_session_cookie_is_read(client: Client, key: str, cookie: str) -> None:
    assert launcher_status(client, cookie.format(name=NAME, key=key)) == 200


@pytest.mark.parametrize(
    "cookie",
    [
        "\u2003{name}={key}",
        "\u00a0{name}={key}",
        "\x1f{name}={key}",
        "\x0b{name}={key}",
        "{name}\u2003={key}",
        "{name}={key}; {name}={key}",
        "{name}=x; {name}={key}",
        "{name}={key}; {name}=",
        "ikd_portal={key}",
        "__host-ikd_portal={key}",
        '{name}="{key}"',
        "{name}={key}x",
        "sessionid={key}",
        "__Host-ikd_gate={key}",
    ],
    ids=repr,
)
def test_a_cookie_that_resembles_the_session_cookie_is_ignored(client: Client, key: str, cookie: str) -> None:
    assert launcher_status(client, cookie.format(name=NAME, key=key)) == 302


def test_a_planted_session_cookie_does_not_replace_the_real_one(client: Client, key: str) -> None:
    planted = "\u2003__Host-ikd_portal=" + "a" * 43

    assert launcher_status(client, f"{planted}; {NAME}={key}") == 200
    assert launcher_status(client, f"{NAME}={key}; {planted}") == 200


def test_a_planted_csrf_cookie_is_ignored(alice: User, client: Client) -> None:
    token = "a" * 32
    client.handler.enforce_csrf_checks = True

    answer = client.post(
        "/accounts/login/",
        {"login": "alice", "password": "correct horse battery", "csrfmiddlewaretoken": token},
        HTTP_COOKIE=f"\u2003__Host-ikd_csrf={token}".encode().decode("latin-1"),
        HTTP_REFERER="https://sso.example.com/accounts/login/",
    )

    assert answer.status_code == 403
