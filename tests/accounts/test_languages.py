"""The language of pages and mails: from the browser, from the user's choice, or the one used last."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from accounts import mails
from accounts.models import User
from authgate.pages.refused import preferred_language
from tests.accounts.signing_in import sign_in
from tests.authgate.asking import NAVIGATION, WIKI, ask, facts
from tests.factories import ApplicationFactory

PAGE = "/language/"
COOKIE = "__Host-ikd_language"


def choose(client: Client, language: str, page: str = "https://sso.example.com/") -> Any:
    return client.post(PAGE, {"language": language}, headers={"referer": page} if page else {})


def test_a_choice_is_kept_in_a_host_only_cookie_of_the_portal(client: Client, db: None) -> None:
    answer = choose(client, "zh-hans", "https://sso.example.com/accounts/login/?next=/x")

    assert answer["Location"] == "/accounts/login/?next=/x"
    cookie = answer.cookies[COOKIE]
    assert (cookie.value, cookie["secure"], cookie["httponly"], cookie["samesite"], cookie["domain"]) == (
        "zh-hans",
        True,
        True,
        "Lax",
        "",
    )
    assert "登录" in client.get("/accounts/login/").content.decode()


@pytest.mark.parametrize("language", ["", "de", "zh", "xx", "../..", "zh-hans\x00", "é" * 1000])
def test_an_unknown_language_changes_nothing(client: Client, db: None, language: str) -> None:
    answer = choose(client, language)

    assert answer.status_code == 302 and COOKIE not in answer.cookies


@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://evil.example.org/",
        "//evil.example.org/",
        "/\\evil.example.org",
        "\t//evil.example.org",
        "javascript:alert(1)",
        "https://sso.example.com.evil.example.org/",
        "https://user@sso.example.com/",
        "https://sso.example.com/language/",
        WIKI,
    ],
)
def test_a_choice_redirects_only_to_the_portal(client: Client, db: None, target: str) -> None:
    ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])

    assert choose(client, "en", target)["Location"] == "/"


def test_only_a_form_of_the_portal_can_change_the_language(client: Client, db: None) -> None:
    client.handler.enforce_csrf_checks = True

    assert client.get(PAGE).status_code == 405
    assert client.post(PAGE, {"language": "zh-hans"}).status_code == 403


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-hans"),
        ("zh-TW", "zh-hans"),
        ("de,en;q=0.5,zh;q=0.3", "en"),
        ("de", "en"),
        ("fr;q=0.9, zh-Hans;q=0.1", "zh-hans"),
        ("", "en"),
        ("*", "en"),
        (";q=,é\x00", "en"),
        ("zh," * 5000, "zh-hans"),
    ],
)
def test_a_browser_gets_its_most_preferred_available_language(accepted: str, language: str) -> None:
    assert preferred_language(accepted) == language


def test_the_refused_page_of_an_application_is_in_the_browsers_language(alice: User) -> None:
    ApplicationFactory(name="Payroll", origins=[WIKI], groups=[])

    english = ask(facts(f"{WIKI}/", NAVIGATION))
    chinese = ask(facts(f"{WIKI}/", [*NAVIGATION, (b"accept-language", b"zh-CN,zh;q=0.9")]))

    assert (english.status, chinese.status) == (403, 403)
    assert "无权访问" in chinese.body.decode() and "No access" in english.body.decode()


def test_a_mail_without_a_request_is_in_the_language_used_last(client: Client, alice: User) -> None:
    cache.clear()
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-CN"
    sign_in(client, "alice")
    mail.outbox.clear()

    mails.notify(User.objects.get(pk=alice.pk), "factors_reset")

    assert mail.outbox[0].subject == "您的两步验证已重置"


def test_a_signed_in_users_choice_also_applies_to_mails(client: Client, alice: User, settings: Any) -> None:
    cache.clear()
    sign_in(client, "alice")
    choose(client, "zh-hans")

    alice.refresh_from_db()
    assert alice.language == "zh-hans"
