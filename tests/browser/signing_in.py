from __future__ import annotations

from playwright.sync_api import Page

from tests.factories import PASSWORD


def sign_in(page: Page, password: str = PASSWORD, *, who: str = "alice", keep: bool = False) -> None:
    page.get_by_label("Username or e-mail address").fill(who)
    page.get_by_label("Password").fill(password)
    if keep:
        page.get_by_label("Keep me signed in").check()
    page.get_by_role("button", name="Sign in").click()


def sign_in_and_wait(page: Page, who: str) -> None:
    sign_in(page, who=who)
    page.get_by_role("link", name="Sign out").wait_for()
