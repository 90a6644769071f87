"""The strength of a new password, shown while typing. The form is complete without scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from tests.browser.chromium import listen_to_console
from tests.browser.signing_in import sign_in_and_wait

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGE = "/accounts/password/change/"
WORDS = ["Too short", "Weak: easily guessed", "Fair: longer is better", "Good", "Strong"]


@pytest.mark.parametrize(
    ("score", "passwords"),
    [
        (0, ["a", "Tr0ub4", "1234567", "密码"]),
        (1, ["password", "Passw0rd2024", "12345678", "aaaaaaaaaaaaaaaa", "qwertyuiop", "alice-example"]),
        (1, ["abababababababab", "87654321", "alicealicealice", "Qwertz123"]),
        (2, ["hkrdwpzm", "tree-fork", "Alice-k7Qx!"]),
        (3, ["green-tree-fork", "k7Qx!wPz9", "hkrdwpzmvtbn"]),
        (4, ["correct horse battery staple", "k7Qx!wPz9#mVt2", "三月的风吹过山谷和河流"]),
    ],
)
def test_the_strength_of_a_password_is_shown(
    chromium: Browser, portal: str, alice: User, console: list[str], score: int, passwords: list[str]
) -> None:
    page = chromium.new_page()
    listen_to_console(page, console)
    page.goto(portal)
    sign_in_and_wait(page, "alice")
    page.goto(portal + PAGE)
    field, outcome = page.get_by_label("New password", exact=True), page.locator(".strength [role=status]")

    told = {}
    for password in passwords:
        field.fill(password)
        told[password] = outcome.inner_text()
    page.context.close()

    assert told == dict.fromkeys(passwords, WORDS[score])
    assert console == []


def test_no_strength_is_shown_for_an_empty_field(chromium: Browser, portal: str, alice: User) -> None:
    page = chromium.new_page()
    page.goto(portal)
    sign_in_and_wait(page, "alice")
    page.goto(portal + PAGE)
    field = page.get_by_label("New password", exact=True)
    field.fill("something")
    expect(page.locator(".strength")).to_be_visible()
    field.fill("")

    expect(page.locator(".strength")).to_be_hidden()
    page.context.close()


def test_no_empty_meter_is_shown_without_scripts(page: Page, portal: str, alice: User) -> None:
    page.goto(portal)
    sign_in_and_wait(page, "alice")
    page.goto(portal + PAGE)

    assert page.locator(".strength").is_hidden()
    assert page.get_by_label("New password again").is_visible()
