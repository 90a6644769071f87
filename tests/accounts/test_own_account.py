"""My account: the user's own name, addresses, sessions and events, and nobody else's."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate.audit import record
from authgate.models import AuditEvent, SignIn
from authgate.sign_ins import open_gate
from tests.accounts.conftest import PORTAL
from tests.accounts.signing_in import begin_session, is_signed_in

pytestmark = pytest.mark.django_db

PAGES = ["", "profile/", "sessions/", "events/", "addresses/", "applications/", "managed/"]
SESSIONS = "/accounts/sessions/"
ADDRESSES = "/accounts/addresses/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(autouse=True)
def empty_cache(db: None) -> None:
    cache.clear()


@pytest.fixture
def own(client: Client, alice: User) -> Client:
    client.defaults["HTTP_USER_AGENT"] = FIREFOX
    begin_session(client, "alice", proven=True)
    mail.outbox.clear()
    return client


@pytest.mark.parametrize("page", PAGES)
def test_visitors_are_sent_to_sign_in(client: Client, db: None, page: str) -> None:
    assert client.get(f"/accounts/{page}")["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("page", PAGES)
def test_each_page_opens_and_is_not_cached(own: Client, page: str) -> None:
    answer = own.get(f"/accounts/{page}")

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]


# ---- the name ----


@pytest.mark.parametrize(
    ("name", "kept"),
    [("Alice 🦊", "Alice 🦊"), ("\u202eevil", "evil"), ("a\x07b", "ab"), ("", ""), ("  x  ", "x")],
    ids=["emoji", "bidi", "bell", "empty", "spaces"],
)
def test_a_name_is_stored_without_invisible_characters(
    own: Client, alice: User, name: str, kept: str
) -> None:
    own.post("/accounts/profile/", {"display_name": name})

    alice.refresh_from_db()
    assert alice.display_name == kept


@pytest.mark.parametrize("name", ["x" * 151, "a\x00b"], ids=["long", "nul"])
def test_long_names_and_nul_are_refused(own: Client, alice: User, name: str) -> None:
    answer = own.post("/accounts/profile/", {"display_name": name})

    alice.refresh_from_db()
    assert (answer.status_code, alice.display_name) == (200, "Alice")


def test_the_profile_form_changes_nothing_but_the_display_name(own: Client, alice: User) -> None:
    own.post(
        "/accounts/profile/",
        {"display_name": "A", "is_superuser": "on", "username": "root", "email": "x@y.zz"},
    )

    alice.refresh_from_db()
    assert (alice.is_superuser, alice.username, alice.email) == (False, "alice", "alice@example.com")


# ---- sessions ----


def test_a_session_shows_its_browser_address_and_applications(own: Client, alice: User) -> None:
    open_gate(SignIn.objects.get(), "https://wiki.example.com")

    body = own.get(SESSIONS).content.decode()

    assert "Firefox 140, Linux" in body
    assert "127.0.0.1" in body
    assert "wiki.example.com" in body
    assert "current session" in body


def test_expired_sessions_do_not_fill_the_list(own: Client, alice: User) -> None:
    """A page of expired sessions would be shown empty and hide the live ones after it."""
    now = timezone.now()
    facts = {"user": alice, "expires_at": now + timedelta(hours=1), "idle_timeout": 60}
    for age, address in ((0, "192.0.2.7"), *((61, "192.0.2.8") for _ in range(30))):
        seen = now - timedelta(seconds=age)
        SignIn.objects.create(started_at=now, last_seen_at=seen, address=address, **facts)

    body = own.get(SESSIONS).content.decode()

    assert "192.0.2.7" in body
    assert "192.0.2.8" not in body
    assert "?page=" not in body


def test_a_user_ends_one_session(own: Client, other_browser: Client, alice: User) -> None:
    begin_session(other_browser, "alice")
    other = SignIn.objects.latest("pk")

    own.post(f"{SESSIONS}{other.uuid}/end/")

    assert not is_signed_in(other_browser)
    assert is_signed_in(own)


def test_a_user_ends_all_other_sessions(own: Client, other_browser: Client, alice: User) -> None:
    begin_session(other_browser, "alice")

    own.post(f"{SESSIONS}end-others/")
    own.post(f"{SESSIONS}end-others/")

    assert not is_signed_in(other_browser)
    assert is_signed_in(own)
    assert AuditEvent.objects.filter(kind="session_ended", subject="alice").count() == 1


def test_ending_the_current_session_signs_out(own: Client, alice: User) -> None:
    own.post(f"{SESSIONS}{SignIn.objects.get().uuid}/end/")

    assert not is_signed_in(own)


def test_the_session_of_another_user_is_not_found(
    own: Client, other_browser: Client, alice: User, bob: User
) -> None:
    begin_session(other_browser, "bob")
    theirs = SignIn.objects.get(user=bob)

    answers = [own.post(f"{SESSIONS}{which}/end/").status_code for which in (theirs.uuid, uuid.uuid4())]

    assert answers == [404, 404]
    assert is_signed_in(other_browser)


@pytest.mark.parametrize("page", ["end-others/", f"{uuid.UUID(int=7)}/end/"])
def test_a_get_request_ends_no_session(own: Client, page: str) -> None:
    assert own.get(f"{SESSIONS}{page}").status_code == 405


# ---- events ----


def test_a_user_sees_only_their_own_events(own: Client, alice: User, bob: User) -> None:
    record("factors_reset", actor="carol", subject="alice", address="192.0.2.44")
    record("factors_reset", actor="carol", subject="bob", address="192.0.2.55")

    body = own.get("/accounts/events/").content.decode()

    assert "An administrator reset the second factors" in body
    assert "192.0.2.44" in body
    assert "192.0.2.55" not in body


def test_events_of_an_earlier_user_with_the_same_name_are_not_shown(own: Client, alice: User) -> None:
    record("factors_reset", subject="alice", address="192.0.2.66")
    AuditEvent.objects.filter(address="192.0.2.66").update(at=alice.date_joined - timedelta(days=1))

    assert b"192.0.2.66" not in own.get("/accounts/events/").content


# ---- addresses ----


def add(client: Client, email: str) -> Any:
    return client.post(ADDRESSES, {"action_add": "1", "email": email})


def test_an_address_counts_once_it_is_confirmed(own: Client, alice: User) -> None:
    add(own, "second@example.com")
    message = next(each for each in mail.outbox if each.to == ["second@example.com"])
    link = re.search(rf"{PORTAL}(/\S+)", message.body)
    assert link is not None
    assert not EmailAddress.objects.get(email="second@example.com").verified

    own.get(link[1])
    assert not EmailAddress.objects.get(email="second@example.com").verified
    own.post(link[1])

    assert EmailAddress.objects.get(email="second@example.com").verified


def test_the_old_address_gets_a_mail_about_the_new_one(own: Client, alice: User) -> None:
    EmailAddress.objects.create(user=alice, email="second@example.com", verified=True)

    own.post(ADDRESSES, {"action_primary": "1", "email": "second@example.com"})

    alice.refresh_from_db()
    assert alice.email == "second@example.com"
    assert ["alice@example.com"] in [message.to for message in mail.outbox]


def test_an_address_confirmed_by_another_user_cannot_be_claimed(own: Client, alice: User, bob: User) -> None:
    add(own, "bob@example.com")
    for message in mail.outbox:
        if message.to == ["bob@example.com"]:
            own.post(re.search(rf"{PORTAL}(/\S+)", message.body)[1])  # type: ignore[index]

    assert not EmailAddress.objects.filter(user=alice, email="bob@example.com", verified=True).exists()


@pytest.mark.parametrize("action", ["action_remove", "action_primary", "action_send"])
def test_addresses_of_other_users_cannot_be_changed(own: Client, alice: User, bob: User, action: str) -> None:
    own.post(ADDRESSES, {action: "1", "email": "bob@example.com"})

    row = EmailAddress.objects.get(email="bob@example.com")
    assert (row.user, row.primary) == (bob, True)
    assert mail.outbox == []


@pytest.mark.parametrize(
    "email",
    [
        "",
        "x",
        "a@b" * 200,
        "a\x00@example.com",
        "\u202ea@example.com",
        "🔑@🔑",
        "\u0131nfo@example.com",
        "\u017fusan@example.com",
    ],
)
def test_bad_addresses_are_refused(own: Client, alice: User, email: str) -> None:
    answer = add(own, email)

    assert answer.status_code in (200, 302)
    assert EmailAddress.objects.filter(user=alice).count() == 1


def test_changing_an_address_needs_a_confirmed_password(client: Client, alice: User) -> None:
    begin_session(client, "alice")

    assert add(client, "thief@example.com")["Location"].startswith("/accounts/reauthenticate/")
    assert not EmailAddress.objects.filter(email="thief@example.com").exists()
