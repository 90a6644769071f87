"""A user's own API tokens: list, create and revoke; and the command that creates a token for any user."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_django.fixtures import DjangoAssertNumQueries

from accounts.checks import check_token_limits
from accounts.machines.api_tokens import TooManyTokens, make_token
from accounts.models import ApiToken, User
from authgate.models import Application, AuditEvent
from tests.accounts.signing_in import begin_session
from tests.factories import ApplicationFactory, UpstreamFactory

LIST, NEW = "/accounts/tokens/", "/accounts/tokens/new/"
DAY = 86_400


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


@pytest.fixture
def confirmed(client: Client, alice: User) -> Client:
    """Alice's browser, in which she has just confirmed her password."""
    begin_session(client, "alice", proven=True)
    return client


def make(client: Client, wiki: Application, **changes: Any) -> Any:
    return client.post(NEW, {"name": "backup", "applications": [wiki.pk], "days": "30", **changes})


def token_in(page: Any) -> str:
    found = re.search(r"ikd_[0-9A-Za-z]{49}", page.content.decode())
    return found[0] if found else ""


@pytest.mark.parametrize("url", [LIST, NEW])
def test_the_pages_need_a_sign_in(client: Client, db: None, url: str) -> None:
    assert client.get(url).headers["Location"] == f"/accounts/login/?next={url}"


def test_creating_a_token_needs_the_password_again(client: Client, alice: User, wiki: Application) -> None:
    begin_session(client, "alice")

    assert client.get(NEW).headers["Location"].startswith("/accounts/reauthenticate/")
    assert make(client, wiki).headers["Location"].startswith("/accounts/reauthenticate/")
    assert not ApiToken.objects.exists()


def test_the_confirmed_password_counts_for_minutes_only(confirmed: Client, wiki: Application) -> None:
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        assert make(confirmed, wiki).status_code == 302
    assert not ApiToken.objects.exists()


def test_a_user_without_a_password_creates_a_token_within_minutes_of_signing_in(
    client: Client, alice: User, wiki: Application
) -> None:
    alice.set_unusable_password()
    alice.save()
    client.force_login(alice)

    assert client.get(NEW).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        assert make(client, wiki).status_code == 403
    assert not ApiToken.objects.exists()


def test_a_user_without_a_password_is_sent_to_their_provider(client: Client, alice: User) -> None:
    alice.set_unusable_password()
    alice.save()
    alice.identities.create(upstream=UpstreamFactory(), subject="s-1")
    client.force_login(alice)

    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        assert client.get(NEW).headers["Location"].startswith("/accounts/providers/confirm/")


def test_a_token_is_shown_once_and_stored_as_a_digest_alone(confirmed: Client, wiki: Application) -> None:
    page = make(confirmed, wiki)

    token, row = token_in(page), ApiToken.objects.get()
    assert token and "no-store" in page["Cache-Control"]
    assert (row.name, list(row.applications.all())) == ("backup", [wiki])
    assert timedelta(days=29) < row.expires_at - timezone.now() <= timedelta(days=30)
    assert token_in(confirmed.get(LIST)) == ""
    assert token[4:] not in str(ApiToken.objects.values().get())
    assert token[4:] not in str(list(AuditEvent.objects.values()))
    assert AuditEvent.objects.filter(kind="token_made", actor="alice").exists()


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "x" * 101}, {"applications": []}, {"days": "366"}, {"days": "0"}, {"days": "x"}],
    ids=["no name", "long name", "no application", "too long", "no time", "no number"],
)
def test_a_wrong_form_creates_no_token(confirmed: Client, wiki: Application, changes: dict[str, Any]) -> None:
    assert token_in(make(confirmed, wiki, **changes)) == ""
    assert not ApiToken.objects.exists()


def test_only_applications_that_the_user_may_open_are_offered(confirmed: Client, wiki: Application) -> None:
    hidden = ApplicationFactory(name="Hidden", origins=["https://hidden.example.com"], groups=["board"])

    page = confirmed.get(NEW).content.decode()
    answer = make(confirmed, wiki, applications=[hidden.pk])

    assert "Wiki" in page and "Hidden" not in page
    assert token_in(answer) == "" and b"Hidden" not in answer.content


def test_a_token_cannot_exceed_the_maximum_lifetime(
    confirmed: Client, wiki: Application, settings: Settings
) -> None:
    settings.IKD_API_TOKEN_LIFETIME = 10 * DAY

    assert token_in(make(confirmed, wiki)) == ""
    assert token_in(make(confirmed, wiki, days="7"))


def test_tokens_can_be_switched_off(confirmed: Client, wiki: Application, settings: Settings) -> None:
    settings.IKD_API_TOKEN_LIFETIME = 0

    assert make(confirmed, wiki).headers["Location"] == LIST
    assert "Create a token" not in confirmed.get(LIST).content.decode()


def test_a_user_cannot_exceed_the_maximum_number_of_tokens(
    confirmed: Client, wiki: Application, settings: Settings
) -> None:
    settings.IKD_API_TOKENS_PER_USER = 1
    make(confirmed, wiki)

    answer = make(confirmed, wiki)

    assert "reached the maximum number of tokens" in answer.content.decode()
    assert ApiToken.objects.count() == 1


def test_a_revoked_token_is_refused_and_recorded(confirmed: Client, wiki: Application) -> None:
    make(confirmed, wiki)
    row = ApiToken.objects.get()

    assert confirmed.post(f"{LIST}{row.pk}/end/").headers["Location"] == LIST

    row.refresh_from_db()
    assert row.ended_at is not None
    assert AuditEvent.objects.filter(kind="token_ended", actor="alice").count() == 1
    assert b"End " not in confirmed.get(LIST).content


def test_a_get_request_revokes_no_token(confirmed: Client, wiki: Application) -> None:
    make(confirmed, wiki)

    assert confirmed.get(f"{LIST}{ApiToken.objects.get().pk}/end/").status_code == 405


def test_nobody_sees_or_revokes_tokens_of_other_users(
    confirmed: Client, bob: User, wiki: Application
) -> None:
    row, _ = make_token(bob, "bob's own", [wiki], DAY)

    assert confirmed.post(f"{LIST}{row.pk}/end/").status_code == 404
    assert b"bob" not in confirmed.get(LIST).content
    row.refresh_from_db()
    assert row.ended_at is None


def test_the_list_needs_the_same_queries_for_many_tokens(
    confirmed: Client, alice: User, wiki: Application, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    now = timezone.now()
    ApiToken.objects.bulk_create(
        ApiToken(user=alice, name=f"n{n}", token_digest=n.to_bytes(32), created_at=now, expires_at=now)
        for n in range(10_000)
    )

    with django_assert_max_num_queries(8):
        page = confirmed.get(f"{LIST}?page=3")

    assert page.content.count(b"<tr>") == 51


def test_the_maximum_is_checked_again_when_a_token_is_created(
    alice: User, wiki: Application, settings: Settings
) -> None:
    settings.IKD_API_TOKENS_PER_USER = 0

    with pytest.raises(TooManyTokens):
        make_token(alice, "one too many", [wiki], DAY)


@pytest.mark.parametrize("name", ["IKD_API_TOKEN_LIFETIME", "IKD_API_TOKENS_PER_USER"])
def test_a_mistake_in_the_settings_is_reported(settings: Settings, name: str) -> None:
    assert check_token_limits() == []
    setattr(settings, name, -1)

    assert [message.id for message in check_token_limits()] == ["accounts.E003"]


# ---- the command ------------------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("api_token", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_creates_a_token_for_any_user(alice: User, wiki: Application) -> None:
    token = command("ALICE", "--name", "robot", "--application", "Wiki", "--days", "1").strip()

    assert re.fullmatch(r"ikd_[0-9A-Za-z]{49}", token)
    assert ApiToken.objects.get().user == alice
    assert AuditEvent.objects.filter(kind="token_made", actor="manage.py", subject="alice").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nobody", "--name", "x", "--application", "Wiki"], "no user 'nobody'"),
        (["alice", "--name", "x", "--application", "Other"], "no application 'Other'"),
        (["alice", "--name", "x", "--application", "Wiki", "--days", "9999"], "up to 365 days"),
        (["alice", "--name", "x", "--application", "Wiki", "--days", "-1"], "up to 365 days"),
        (["alice", "--name", "x", "--application", "Wiki", "--days", "nan"], "up to 365 days"),
    ],
    ids=["user", "application", "too long", "negative", "no number"],
)
def test_the_command_names_the_mistake_in_its_arguments(
    alice: User, wiki: Application, arguments: list[str], told: str
) -> None:
    with pytest.raises(CommandError, match=told):
        command(*arguments)
