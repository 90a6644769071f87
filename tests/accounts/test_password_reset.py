"""A forgotten password: the portal mails a link, and does not reveal which accounts exist."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import mails
from accounts.models import User
from authgate.models import AuditEvent, SignIn
from tests.accounts.conftest import PORTAL
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

PAGE = "/accounts/password/reset/"
NEW = "an even longer horse"


@pytest.fixture(autouse=True)
def empty_cache(db: None) -> None:
    cache.clear()


def ask(client: Client, email: str, **more: str) -> Any:
    return client.post(PAGE, {"email": email}, **more)


def link_in(message: Any) -> str:
    found = re.search(rf"{PORTAL}(/accounts/password/reset/key/\S+)", message.body)
    assert found is not None
    return found[1]


def choose(client: Client, link: str, password: str = NEW) -> Any:
    form = client.get(link)["Location"]
    return client.post(form, {"password1": password, "password2": password})


def test_the_link_changes_the_password_and_ends_every_sign_in(
    client: Client, other_browser: Client, alice: User
) -> None:
    sign_in(other_browser, "alice")
    ask(client, "Alice@example.com")

    choose(client, link_in(mail.outbox[0]))

    assert not is_signed_in(other_browser)
    assert not is_signed_in(client)
    sign_in(client, "alice", NEW)
    assert is_signed_in(client)


def test_the_link_works_once(client: Client, alice: User) -> None:
    ask(client, "alice@example.com")
    link = link_in(mail.outbox[0])
    choose(client, link)

    page = client.get(link)

    assert "no longer works" in page.content.decode()


@pytest.mark.parametrize("link", ["1-x", "zzzz-c1-abc", "0-set-password", "1-set-password"])
def test_a_forged_link_does_not_work(client: Client, alice: User, link: str) -> None:
    page = client.get(f"{PAGE}key/{link}/")

    assert "no longer works" in page.content.decode()


def test_the_link_leads_to_the_portal_whatever_host_was_sent(client: Client, alice: User) -> None:
    ask(client, "alice@example.com", HTTP_X_FORWARDED_HOST="evil.example", HTTP_HOST="sso.example.com:443")

    message = mail.outbox[0]
    html = str(message.alternatives[0][0])
    assert f"{PORTAL}{PAGE}key/" in html
    assert "evil" not in message.body + html


@pytest.mark.parametrize("email", ["alice@example.com", "nobody@example.com", "dave@example.com"])
def test_the_answer_is_the_same_for_everybody(client: Client, alice: User, dave: User, email: str) -> None:
    answer = ask(client, email)

    assert (answer.status_code, answer["Location"]) == (302, f"{PAGE}sent/")


def test_the_answer_needs_the_same_queries_for_everybody(client: Client, alice: User, settings: Any) -> None:
    settings.IKD_WRITE_BEHIND = True
    open_up = threading.Event()
    mails._waiting.submit(open_up.wait, 20)  # delays the work that follows the response
    work = []
    for email in ("alice@example.com", "nobody@example.com"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            ask(client, email)
        work.append([re.sub(r"'[^']*'|\d+", "?", query["sql"]) for query in queries])
    mails._waiting.submit(lambda: None)
    open_up.set()

    assert work[0] == work[1]


@pytest.mark.parametrize("who", ["nobody", "disabled", "unconfirmed", "no password"])
def test_users_who_cannot_reset_their_password_get_no_mail(client: Client, alice: User, who: str) -> None:
    if who == "disabled":
        User.objects.update(is_active=False)
    if who == "unconfirmed":
        EmailAddress.objects.update(verified=False)
    if who == "no password":
        alice.set_unusable_password()
        alice.save()

    ask(client, "nobody@example.com" if who == "nobody" else "alice@example.com")

    assert mail.outbox == []


@pytest.mark.parametrize(
    "email", ["", "x", "a@b" * 200, "a\x00@example.com", "a\nbcc: b@example.com", "\u202ea@example.com", "🔑"]
)
def test_bad_addresses_send_no_mail(client: Client, alice: User, email: str) -> None:
    answer = ask(client, email)

    assert answer.status_code in (200, 302)
    assert mail.outbox == []


def test_an_address_gets_three_mails_an_hour_and_the_page_does_not_show_the_limit(
    client: Client, alice: User
) -> None:
    answers = [ask(client, "alice@example.com", REMOTE_ADDR=f"192.0.2.{n}") for n in range(5)]

    assert len(mail.outbox) == 3
    assert {answer["Location"] for answer in answers} == {f"{PAGE}sent/"}


def test_a_network_can_ask_twenty_times_an_hour(client: Client, alice: User) -> None:
    answers = [ask(client, f"user-{n}@example.com").status_code for n in range(21)]

    assert answers == [302] * 20 + [429]


def test_common_passwords_are_refused(client: Client, alice: User) -> None:
    ask(client, "alice@example.com")

    page = choose(client, link_in(mail.outbox[0]), "password1")

    assert page.status_code == 200
    assert "too common" in page.content.decode()


def test_a_changed_password_sends_a_mail_and_leaves_an_event(client: Client, alice: User) -> None:
    ask(client, "alice@example.com")

    choose(client, link_in(mail.outbox[0]))

    assert mail.outbox[1].subject == "Your password was changed"
    event = AuditEvent.objects.get(kind="password_changed")
    assert (event.subject, event.reason) == ("alice", "by a link in a mail")


def test_the_page_works_while_the_mail_server_is_away(client: Client, alice: User, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

    assert ask(client, "alice@example.com").status_code == 302


def test_a_sign_in_from_a_new_browser_sends_a_mail(
    client: Client, other_browser: Client, alice: User
) -> None:
    sign_in(client, "alice", address="192.0.2.1")
    sign_in(client, "alice", address="192.0.2.1")
    assert mail.outbox == []

    sign_in(other_browser, "alice", address="198.51.100.9")

    assert [message.subject for message in mail.outbox] == ["New sign-in to your account"]
    assert "198.51.100.9" in mail.outbox[0].body
    assert SignIn.objects.count() >= 2


def test_a_user_gets_a_mail_when_an_administrator_sets_their_password(
    client: Client, carol: User, alice: User
) -> None:
    sign_in(client, "carol")

    form = {"usable_password": "true", "password1": NEW, "password2": NEW}
    client.post(f"/admin/accounts/user/{alice.pk}/password/", form)

    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["alice@example.com"], "Your password was changed")
    ]


def test_a_refused_password_sends_no_mail(client: Client, carol: User, alice: User) -> None:
    sign_in(client, "carol")

    form = {"usable_password": "true", "password1": NEW, "password2": "another"}
    client.post(f"/admin/accounts/user/{alice.pk}/password/", form)

    assert mail.outbox == []


def test_a_spelling_without_an_account_does_not_use_up_the_users_mails(client: Client, db: None) -> None:
    """The long s resembles an s, but is not in susan's address."""
    UserFactory(username="susan", email="susan@example.com", verified=True)
    for number in range(4):
        ask(client, "\u017fusan@example.com", REMOTE_ADDR=f"127.0.1.{number}")

    ask(client, "susan@example.com")

    assert [message.to for message in mail.outbox] == [["susan@example.com"]]


def test_capital_letters_do_not_raise_the_limit_of_mails(client: Client, alice: User) -> None:
    for number, email in enumerate(["alice@example.com", "Alice@example.com", "ALICE@EXAMPLE.COM"] * 2):
        ask(client, email, REMOTE_ADDR=f"127.0.1.{number}")

    assert len(mail.outbox) == 3
