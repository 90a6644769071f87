"""Forms behind links in mails, sent by a real browser, which adds the Origin header."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.core import mail
from playwright.sync_api import Browser, Page

from accounts.models import User
from accounts.onboarding import invitations
from tests.browser.signing_in import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

NEW = "an even longer horse"
LANGUAGES = ["en-GB", "zh-CN"]


@pytest.fixture
def guest(chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """Browsers without scripts, each with a preferred language."""
    contexts = []

    def open_one(language: str) -> Page:
        contexts.append(chromium.new_context(locale=language, java_script_enabled=False))
        return contexts[-1].new_page()

    yield open_one
    for context in contexts:
        context.close()


def link_in_the_newest_mail(portal: str) -> str:
    return next(line for line in str(mail.outbox[-1].body).splitlines() if line.startswith(portal))


def fill_in_twice(page: Page, password: str) -> None:
    for name in ("password1", "password2"):
        page.locator(f"[name={name}]").fill(password)
    page.locator("form:has([name=password1]) [type=submit]").click()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_forgotten_password_is_replaced(
    guest: Callable[[str], Page], page: Page, portal: str, alice: User, language: str
) -> None:
    stranger = guest(language)
    stranger.goto(f"{portal}/accounts/password/reset/")
    stranger.locator("[name=email]").fill("alice@example.com")
    stranger.locator("form:has([name=email]) [type=submit]").click()
    stranger.goto(link_in_the_newest_mail(portal))
    fill_in_twice(stranger, NEW)
    stranger.wait_for_url(f"{portal}/accounts/password/reset/changed/")

    page.goto(portal)
    sign_in(page, NEW)
    page.get_by_role("link", name="Sign out").wait_for()


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_invitation_is_accepted(
    guest: Callable[[str], Page], portal: str, carol: User, language: str
) -> None:
    invitations.invite(email="new@example.com", groups=[], days=1, inviter=carol)
    newcomer = guest(language)
    newcomer.goto(link_in_the_newest_mail(portal))
    newcomer.locator("[name=username]").fill("newcomer")
    fill_in_twice(newcomer, NEW)
    newcomer.wait_for_url(f"{portal}/accounts/login/")

    assert User.objects.get(username="newcomer").email == "new@example.com"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_choice_on_the_page_of_an_invitation_returns_to_it(
    guest: Callable[[str], Page], portal: str, carol: User, language: str
) -> None:
    _, link = invitations.invite(email="", groups=[], days=1, inviter=carol)
    newcomer = guest(language)
    newcomer.goto(link)

    newcomer.get_by_role("button", name="English" if language == "zh-CN" else "简体中文").click()
    newcomer.wait_for_url(link)


def test_these_pages_send_no_referer_to_other_origins(
    guest: Callable[[str], Page], portal: str, carol: User
) -> None:
    """These pages have the portal's policy: other origins get no Referer at all."""
    _, link = invitations.invite(email="", groups=[], days=1, inviter=carol)
    newcomer = guest("en-GB")
    answer = newcomer.goto(link)

    assert answer is not None and answer.headers["referrer-policy"] == "same-origin"
