"""The launcher in Chromium: search while typing, favourites with and without scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from tests.browser.signing_in import sign_in_and_wait
from tests.factories import ApplicationFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

NAMES = ("Wiki", "Mail", "Café", "Builds", "Bills", "Chat", "Files")


@pytest.fixture
def applications(alice: User) -> None:
    for name in NAMES:
        category = "Engineering" if name == "Builds" else ""
        origin = f"https://{name.lower().replace('é', 'e')}.example.net"
        description = "Lunch" if name == "Café" else ""  # instead of its address, which has no accent
        ApplicationFactory(
            name=name, category=category, description=description, origins=[origin], groups=["staff"]
        )


@pytest.fixture
def launcher(chromium: Browser, portal: str, applications: None) -> Iterator[Page]:
    """Alice's launcher, with scripts."""
    page = chromium.new_page()
    page.goto(portal)
    sign_in_and_wait(page, "alice")
    yield page
    page.close()


def shown(page: Page) -> list[str]:
    return page.locator(".tile:not([hidden]) h3").all_inner_texts()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("wik", ["Wiki"]),
        ("CAFE", ["Café"]),
        ("engineering", ["Builds"]),
        ("b il", ["Builds", "Bills"]),
        ("example.net mail", ["Mail"]),
        ("nothing", []),
    ],
    ids=["part of a name", "without accents", "category", "two parts", "address", "nothing"],
)
def test_typing_shows_only_matching_applications(launcher: Page, typed: str, expected: list[str]) -> None:
    search = launcher.get_by_label("Search your applications")
    search.click()  # waits until the script has added the field: typing alone does not
    search.press_sequentially(typed)

    expect(launcher.get_by_role("status")).to_have_text(f"{len(expected)} found")
    assert shown(launcher) == expected
    assert launcher.get_by_text("No application matches").is_visible() is not bool(expected)


def test_escape_shows_all_applications_again(launcher: Page) -> None:
    launcher.get_by_label("Search your applications").fill("wiki")
    launcher.keyboard.press("Escape")

    assert sorted(shown(launcher)) == sorted(NAMES)


def test_enter_opens_the_first_match(launcher: Page) -> None:
    launcher.route("https://wiki.example.net/", lambda route: route.fulfill(body="the wiki"))
    launcher.get_by_label("Search your applications").fill("wiki")
    launcher.keyboard.press("Enter")

    expect(launcher).to_have_url("https://wiki.example.net/")


def test_a_new_favourite_is_pressed_and_listed_first(launcher: Page) -> None:
    launcher.get_by_role("button", name="Wiki is a favourite").click()

    expect(launcher.get_by_role("button", name="Wiki is a favourite", pressed=True)).to_be_visible()
    expect(launcher.get_by_role("region", name="Favourites")).to_contain_text("Wiki")


def test_the_list_is_complete_and_favourites_work_without_scripts(
    page: Page, portal: str, applications: None
) -> None:
    page.goto(portal)
    sign_in_and_wait(page, "alice")

    page.get_by_role("button", name="Mail is a favourite").click()

    expect(page.get_by_role("region", name="Favourites")).to_contain_text("Mail")
    assert sorted(shown(page)) == sorted(NAMES)
    assert page.get_by_label("Search your applications").is_hidden()
