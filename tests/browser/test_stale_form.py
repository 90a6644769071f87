"""A form that became stale by a sign-in in another tab, sent by a real browser under the shipped policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from accounts.models import User
from tests.browser.signing_in import sign_in, sign_in_and_wait
from tests.factories import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def sign_in_in_another_tab(page: Page, portal: str, who: str) -> None:
    tab = page.context.new_page()
    tab.goto(f"{portal}/switch-account")
    tab.get_by_role("button", name="Switch account").click()
    sign_in_and_wait(tab, who)
    tab.close()


def test_typed_text_survives_a_sign_in_in_another_tab(
    page: Page, portal: str, alice: User, console: list[str]
) -> None:
    page.goto(f"{portal}/accounts/profile/")
    sign_in(page)
    page.get_by_label("Display name").fill('Alice "the first" <b>')
    sign_in_in_another_tab(page, portal, "alice")

    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="This form has expired").wait_for()
    alice.refresh_from_db()
    assert alice.display_name == "Alice"

    page.get_by_role("button", name="Send again").click()
    page.wait_for_url(f"{portal}/accounts/")
    alice.refresh_from_db()
    assert alice.display_name == 'Alice "the first" <b>'
    assert [line for line in console if "403" not in line] == []


def test_only_the_password_must_be_typed_again(page: Page, portal: str, alice: User) -> None:
    page.goto(f"{portal}/accounts/profile/#chapter")
    page.context.clear_cookies()
    sign_in(page)
    page.get_by_role("heading", name="This form has expired").wait_for()

    assert page.get_by_label("Username or e-mail address").input_value() == "alice"
    assert page.get_by_label("Password").input_value() == ""
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Send again").click()
    page.wait_for_url(f"{portal}/accounts/profile/#chapter")
