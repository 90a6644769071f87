from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import connection
from django.test import Client, RequestFactory
from django.views import defaults

from accounts import checks
from accounts.models import User
from accounts.session_store import SessionStore
from tests.accounts.signing_in import sign_in


@pytest.mark.parametrize(
    ("page", "status", "advice"),
    [
        (lambda r: defaults.bad_request(r, SuspiciousOperation()), 400, "Start again"),
        (lambda r: defaults.permission_denied(r, PermissionDenied()), 403, "Ask your administrator"),
        (lambda r: defaults.page_not_found(r, Exception()), 404, "My applications"),
        (lambda r: defaults.server_error(r), 500, "Try again in a minute"),
    ],
    ids=["400", "403", "404", "500"],
)
def test_an_error_page_says_what_to_do_next(
    rf: RequestFactory, db: None, page: Any, status: int, advice: str
) -> None:
    answer = page(rf.get("/"))

    assert answer.status_code == status
    assert advice in answer.content.decode()
    assert "ikd.css" in answer.content.decode()


def test_a_nul_character_is_not_a_server_error(client: Client, db: None) -> None:
    """SQLite finds no provider with this name. PostgreSQL refuses the query."""
    client.raise_request_exception = False

    answer = client.get("/auth/ssologin", {"upstream": "a\0b"})

    assert answer.status_code == (302 if connection.vendor == "sqlite" else 400)


def test_a_missing_page_still_shows_who_is_signed_in(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    answer = client.get("/no-such-page")

    assert answer.status_code == 404
    assert "Signed in as Alice" in answer.content.decode()


@pytest.fixture
def replaced(client: Client, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice is signed in, and another tab replaces her session during each request."""
    sign_in(client, "alice")
    settings.SESSION_SAVE_EVERY_REQUEST = True

    def save(self: SessionStore, must_create: bool = False) -> None:
        raise UpdateError

    monkeypatch.setattr(SessionStore, "save", save)


def test_a_get_request_is_repeated_if_its_session_was_replaced(client: Client, replaced: None) -> None:
    answer = client.get("/accounts/?tab=1")

    assert (answer.status_code, answer["Location"]) == (302, "/accounts/?tab=1")
    assert answer["Cache-Control"] == "no-store"


def test_a_form_is_not_sent_again_if_its_session_was_replaced(client: Client, replaced: None) -> None:
    answer = client.post("/language/", {"language": "en"})

    assert answer.status_code == 409
    assert "You signed in or out in another tab" in answer.content.decode()
    assert "Check whether your change was saved" in answer.content.decode()


@pytest.mark.parametrize(
    "path", ["/%00", "/%FF%FE", "/accounts/login/%0d%0aX:y", "/accounts/login", "/..%2f"]
)
def test_odd_paths_are_not_found(client: Client, db: None, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("name", checks.LIMITS)
def test_an_unreadable_limit_is_a_settings_error(settings: Any, name: str) -> None:
    setattr(settings, name, "five a minute")

    [message] = checks.check_limits()

    assert message.id == "accounts.E001"
    assert name in message.msg
    assert "'five a minute'" in message.msg


def test_the_default_limits_are_valid() -> None:
    assert checks.check_limits() == []
