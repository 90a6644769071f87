"""The applications that users see in their account, and the button that ends access."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.cache import cache

from accounts.models import User
from authgate.models import Application, AuditEvent
from openid.models import Client, Consent, Grant, LogoutDelivery
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import begin_session, is_signed_in
from tests.openid.relying_party import RelyingParty, error_of, register

PAGE = "/accounts/applications/"


@pytest.fixture(autouse=True)
def nothing_counted(db: None) -> None:
    cache.clear()


def end(browser: PortalClient, rp: RelyingParty) -> Any:
    return browser.post(f"{PAGE}{rp.client.pk}/end/")


def test_an_application_is_shown_with_the_data_that_it_receives(
    browser: PortalClient, rp: RelyingParty
) -> None:
    rp.tokens(browser)

    body = browser.get(PAGE).content.decode()

    for text in (
        "Wiki",
        rp.client.client_id,
        "your e-mail address",
        "alice@example.com",
        "<code>groups</code> staff",
    ):
        assert text in body


def test_only_what_was_granted_is_shown(browser: PortalClient, rp: RelyingParty) -> None:
    rp.tokens(browser, scope="openid")

    body = browser.get(PAGE).content.decode()

    assert "an ID that identifies you" in body
    assert "your e-mail address" not in body
    assert "<code>email</code>" not in body


def test_a_refresh_counts_as_use(browser: PortalClient, rp: RelyingParty) -> None:
    tokens = rp.tokens(browser)
    before = browser.get(PAGE).context["clients"][0].used
    rp.refresh(tokens["refresh_token"])

    [row] = browser.get(PAGE).context["clients"]

    assert row.since <= before < row.used


def test_ended_access_and_that_of_other_users_is_not_shown(
    browser: PortalClient, other_browser: PortalClient, rp: RelyingParty, bob: User
) -> None:
    rp.tokens(browser)
    begin_session(other_browser, "bob")

    assert b"Wiki" not in other_browser.get(PAGE).content
    Grant.objects.update(ended_at=Grant.objects.get().created_at)
    assert b"No application signs you in" in browser.get(PAGE).content


def test_the_button_ends_tokens_at_once_and_notifies_the_client(
    browser: PortalClient, rp: RelyingParty
) -> None:
    Client.objects.update(backchannel_logout_uri="https://wiki.example.com/logout")
    tokens = rp.tokens(browser)

    answer = end(browser, rp)

    assert answer["Location"] == PAGE
    assert rp.userinfo(tokens["access_token"]).status_code == 401
    assert error_of(rp.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert LogoutDelivery.objects.get().audience == rp.client.client_id
    assert is_signed_in(browser)


def test_the_button_deletes_the_consent(browser: PortalClient, wiki: Application) -> None:
    asking = register(wiki, asks_consent=True)
    question = asking.authorize(browser)
    browser.post("/openid/consent", {"request": question.context["sealed"], "answer": "allow"})

    end(browser, asking)

    assert not Consent.objects.exists()
    assert b"Continue to Wiki?" in asking.authorize(browser).content


def test_a_consent_without_tokens_is_shown_and_ended(
    browser: PortalClient, rp: RelyingParty, alice: User
) -> None:
    rp.tokens(browser)
    given_at = Grant.objects.get().created_at
    Grant.objects.all().delete()
    Consent.objects.create(user=alice, client=rp.client, scopes="openid email", given_at=given_at)

    assert b"no active session" in browser.get(PAGE).content
    end(browser, rp)
    assert not Consent.objects.exists()


def test_the_button_ends_all_sessions_of_the_user_at_this_client_only(
    browser: PortalClient, other_browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    other = register(wiki)
    begin_session(other_browser, "alice")
    for each in (browser, other_browser):
        rp.tokens(each)
    kept = other.tokens(browser)["access_token"]

    end(browser, rp)

    assert not Grant.objects.filter(client=rp.client, ended_at=None).exists()
    assert other.userinfo(kept).status_code == 200


def test_a_user_cannot_end_the_access_of_another_user(
    browser: PortalClient, other_browser: PortalClient, rp: RelyingParty, bob: User
) -> None:
    tokens = rp.tokens(browser)
    begin_session(other_browser, "bob")

    assert end(other_browser, rp).status_code == 404
    assert rp.userinfo(tokens["access_token"]).status_code == 200


def test_a_forged_form_ends_nothing(browser: PortalClient, rp: RelyingParty) -> None:
    tokens = rp.tokens(browser)
    strict = PortalClient(enforce_csrf_checks=True, HTTP_HOST="sso.example.com")
    strict.cookies = browser.cookies

    assert end(strict, rp).status_code == 403
    assert browser.get(f"{PAGE}{rp.client.pk}/end/").status_code == 405
    assert rp.userinfo(tokens["access_token"]).status_code == 200


def test_the_event_is_the_users_own(browser: PortalClient, rp: RelyingParty) -> None:
    rp.tokens(browser)
    end(browser, rp)

    event = AuditEvent.objects.get(kind="openid_access_ended")
    assert (event.actor, event.subject, event.details["grants"]) == ("alice", "alice", 1)
    assert json.dumps(event.details).count("Wiki") == 1
    assert b"The access of an application was ended" in browser.get("/accounts/events/").content


def test_an_unused_code_ends_too(browser: PortalClient, rp: RelyingParty) -> None:
    code = rp.code(browser)
    end(browser, rp)

    assert error_of(rp.exchange(code)) == "invalid_grant"
