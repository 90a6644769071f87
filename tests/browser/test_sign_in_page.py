"""The sign-in page in Chromium: without scripts, under the policy as shipped."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from accounts.models import User
from tests.browser.signing_in import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def session_cookie(page: Page) -> Any:
    return next((cookie for cookie in page.context.cookies() if cookie["name"] == "ikd_portal"), None)


def test_a_user_signs_in_without_scripts_and_reaches_the_launcher(
    page: Page, portal: str, alice: User, console: list[str]
) -> None:
    page.goto(portal)
    sign_in(page)

    assert page.get_by_role("heading", name="My applications").is_visible()
    assert page.url == f"{portal}/"
    assert console == []


def test_the_fragment_survives_signing_in(page: Page, portal: str, alice: User) -> None:
    page.goto(f"{portal}/?x=1#chapter-2")
    sign_in(page)

    assert page.url == f"{portal}/?x=1#chapter-2"


def test_a_wrong_password_shows_an_error_and_keeps_the_name(
    page: Page, portal: str, alice: User, console: list[str]
) -> None:
    page.goto(portal)
    sign_in(page, "wrong")

    assert page.get_by_role("alert").is_visible()
    assert page.get_by_label("Username or e-mail address").input_value() == "alice"
    assert page.get_by_label("Password").input_value() == ""
    assert session_cookie(page) is None
    assert console == []


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_the_cookie_outlives_the_browser_only_with_stay_signed_in(
    page: Page, portal: str, alice: User, keep: bool
) -> None:
    page.goto(portal)
    sign_in(page, keep=keep)

    assert (session_cookie(page)["expires"] > 0) is keep


def test_the_tab_key_visits_the_form_in_order(chromium: Browser, portal: str, alice: User) -> None:
    page = chromium.new_page()
    page.goto(f"{portal}/accounts/login/")
    focused = "document.activeElement.name || document.activeElement.type"

    order = [page.evaluate(focused)]
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    page.close()

    assert order == ["login", "password", "remember", "submit"]


def test_the_first_tab_stop_is_the_link_to_skip_the_header(
    chromium: Browser, portal: str, alice: User
) -> None:
    page = chromium.new_page()
    page.goto(f"{portal}/signed-out")

    page.keyboard.press("Tab")
    skipped_to = page.evaluate("document.activeElement.getAttribute('href')")
    page.close()

    assert skipped_to == "#main"


def test_a_user_signs_out_without_scripts(page: Page, portal: str, alice: User, console: list[str]) -> None:
    page.goto(portal)
    sign_in(page)
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out").click()

    assert page.get_by_role("heading", name="You are signed out").is_visible()
    assert session_cookie(page) is None
    assert console == []


def test_the_page_fits_a_small_phone(chromium: Browser, portal: str, alice: User) -> None:
    page = chromium.new_page(viewport={"width": 320, "height": 600})
    page.goto(portal)
    sign_in(page)
    width = "document.documentElement.scrollWidth"

    widths = []
    for path in ("/", "/accounts/logout/", "/accounts/password/change/", "/switch-account", "/no-such-page"):
        page.goto(f"{portal}{path}")
        widths.append(page.evaluate(width))
    page.close()

    assert widths == [320] * 5
