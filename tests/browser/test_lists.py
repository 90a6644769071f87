"""The admin's lists with the data of a real company, at the widths of real screens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from pytest_django.plugin import DjangoDbBlocker

from demo import crowd
from tests.browser.signing_in import sign_in_and_wait
from tests.database_copy import DatabaseCopy
from tests.factories import person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LISTS = {
    "users": "accounts/user/",
    "groups": "accounts/group/",
    "tokens": "accounts/apitoken/",
    "invitations": "accounts/invitation/",
    "providers": "accounts/upstream/",
    "identities": "accounts/identity/",
    "applications": "authgate/application/",
    "sign-ins": "authgate/signin/",
    "gate sessions": "authgate/gatesession/",
    "events": "authgate/auditevent/",
    "mistakes": "authgate/configurationevent/",
    "changes": "authgate/journalentry/",
}
WIDTHS = (1280, 1440)
PHONE = 390
TALLEST = 110
"""Maximum height of a row in pixels: two or three lines of text, not half a screen."""

MEASURES = """() => {
  const table = document.querySelector(".results");
  const tall = [...document.querySelectorAll("#result_list tbody tr")].map((row) => row.offsetHeight);
  const times = [...document.querySelectorAll("#result_list time")];
  const broken = times.filter((each) => each.getClientRects().length > 1);
  return {
    page: document.documentElement.scrollWidth - innerWidth,
    table: table.scrollWidth - table.clientWidth,
    tallest: Math.max(...tall),
    broken: broken.length,
    injected: document.querySelectorAll("#result_list script, #result_list [onerror]").length,
  };
}"""


@pytest.fixture(scope="module")
def company(empty_database: DatabaseCopy, django_db_blocker: DjangoDbBlocker) -> Iterator[DatabaseCopy]:
    """Carol and a real company's rows. They are shared because creating them takes longer than a test."""
    with django_db_blocker.unblock():
        person("carol")
        crowd.create()
        copy = DatabaseCopy()
        empty_database.restore()
    yield copy
    copy.close()


@pytest.fixture
def crowded(company: DatabaseCopy, db: None) -> None:
    company.restore()


def faults(page: Page, *, tallest: int) -> list[str]:
    found = page.evaluate(MEASURES)
    return [
        f"{what}: {value}" for what, value in found.items() if value > (tallest if what == "tallest" else 0)
    ]


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_every_list_fits_its_screen(chromium: Browser, portal: str, crowded: None, locale: str) -> None:
    page = chromium.new_page(locale=locale)
    page.goto(f"{portal}/accounts/login/")
    page.locator("input[name=login]").fill("carol")
    page.locator("input[name=password]").fill("correct horse battery")
    page.locator("main form:has(input[name=password]) button[type=submit]").first.click()
    page.locator("a[href$='/accounts/logout/']").first.wait_for()

    found = {}
    for name, path in LISTS.items():
        page.goto(f"{portal}/admin/{path}")
        for width in (*WIDTHS, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            found[name, width] = faults(page, tallest=TALLEST if width in WIDTHS else 10_000)
    page.close()

    assert {place: wrong for place, wrong in found.items() if wrong} == {}


def test_a_long_filter_can_be_searched(chromium: Browser, portal: str, crowded: None) -> None:
    page = chromium.new_page()
    page.goto(portal)
    sign_in_and_wait(page, "carol")
    page.goto(f"{portal}/admin/accounts/user/")

    page.get_by_text("Groups: All").click()
    page.get_by_role("searchbox", name="Search", exact=True).last.fill("GRAFANA-AD")
    choices = page.locator(".filter[open] li:visible a").all_inner_texts()
    page.locator(".filter[open]").get_by_role("link", name="grafana-admins").click()
    chosen = page.locator(".filter summary.chosen").inner_text()
    rows = page.locator("#result_list tbody tr").count()
    page.close()

    assert choices == ["grafana-admins"]
    assert " ".join(chosen.split()) == "Groups: grafana-admins"
    assert 0 < rows < 50


def test_hidden_groups_can_be_shown_without_scripts(page: Page, portal: str, crowded: None) -> None:
    page.goto(portal)
    sign_in_and_wait(page, "carol")
    page.goto(f"{portal}/admin/accounts/user/")
    more = page.locator("details.more").first

    hidden = more.locator(".chip").first.is_visible()
    more.locator("summary").click()

    assert not hidden
    assert more.locator(".chip").first.is_visible()
