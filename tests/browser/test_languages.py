"""The portal in Chinese: chosen by the browser, switched by hand, and nothing left in English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from tests.browser.signing_in import sign_in_and_wait
from tests.browser.test_every_page import PAGES, come_to, furnished  # noqa: F401
from tests.catalogues import marking, outside_marks
from tests.factories import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DATA = re.compile(
    r"""https?://\S+ | \S+@\S+ | \S+\.example\.\S+ | (?:127\.0\.0\.1|localhost)(?::\d+)? | [0-9a-f-]{12,}
    | \b(?:alice|bob|carol|erin|staff|guests|accountants|Wiki|Payroll|Tool\s\d|Finance|Engineering)\b
    | \bWhat\sit\sis\sfor\. | \bbackup\b | \bikD\sPortal\b | \bEnglish\b
    | \b(?:HeadlessChrome|Chrome|Linux)\b | \bMozilla/\S+.* | \b(?:ingress-nginx|nginx|traefik)\b
    | \b(?:caddy|haproxy|envoy|oauth2|CSV)\b | \bFor\sthe\smonth's\send\b
    | \b(?:OIDC|CAS|OpenID\sConnect)\b | \b(?:Alice|Bob|Carol|Erin)\b
    | \b(?:refused|sign_in|password|unknown\sorigin|no\srule\sadmits)\b | \b(?:True|False)\b""",
    re.VERBOSE,
)
"""What people and tests wrote, names, and what events are called in logs, docs and database alike.

Django says True and False in English where a screen reader comes to its icons.
"""

TEXTS = """() => {
  for (const each of document.querySelectorAll("code, pre, script, style, textarea")) each.hidden = true;
  const texts = [document.title, document.body.innerText];
  for (const each of document.body.querySelectorAll("*")) {
    if (!each.checkVisibility() && each.tagName !== "OPTION") continue;
    for (const name of ["placeholder", "aria-label", "title", "alt"])
      if (each.hasAttribute(name)) texts.push(each.getAttribute(name));
    if (each.tagName === "INPUT" && ["submit", "button"].includes(each.type)) texts.push(each.value);
    if (each.tagName === "OPTION") texts.push(each.textContent);
    for (const [name, value] of Object.entries(each.dataset)) if (/^words/.test(name)) texts.push(value);
  }
  return texts;
}"""


@pytest.fixture
def marked(settings: Any, tmp_path: Path) -> Iterator[None]:
    """All translations between marks: what stands outside was not translated."""
    before = settings.LOCALE_PATHS
    settings.LOCALE_PATHS = [marking(tmp_path)]
    yield
    settings.LOCALE_PATHS = before


def speak_chinese(page: Page, portal: str) -> None:
    page.context.add_cookies([{"name": "ikd_language", "value": "zh-hans", "url": portal}])


@pytest.mark.parametrize("name", PAGES)
def test_nothing_of_a_page_is_left_in_english(
    chromium: Browser,
    portal: str,
    furnished: None,  # noqa: F811
    marked: None,
    name: str,
) -> None:
    page = chromium.new_page()
    come_to(page, portal, name)
    speak_chinese(page, portal)
    page.reload()
    page.wait_for_load_state("networkidle")

    texts = page.evaluate(TEXTS)
    language = page.locator("html").get_attribute("lang")
    page.context.close()

    left = [DATA.sub("", outside_marks(text)) for text in texts]
    assert language == "zh-hans"
    assert [words for text in left for words in re.findall(r"[A-Za-z][A-Za-z' ]+[A-Za-z]", text)] == []


@pytest.fixture
def chinese(chromium: Browser) -> Iterator[Page]:
    """A browser that would like to read Chinese."""
    context = chromium.new_context(locale="zh-CN")
    yield context.new_page()
    context.close()


def test_a_chinese_browser_signs_in_in_chinese(chinese: Page, portal: str, alice: User) -> None:
    chinese.goto(portal)
    chinese.get_by_label("用户名或电子邮箱").fill("alice")
    chinese.get_by_label("密码").fill("不是这个")
    chinese.get_by_role("button", name="登录").click()
    expect(chinese.get_by_role("alert")).to_contain_text("用户名与密码不匹配")

    chinese.get_by_label("密码").fill(PASSWORD)
    chinese.get_by_role("button", name="登录").click()

    expect(chinese.get_by_role("heading", name="我的应用")).to_be_visible()
    assert User.objects.get(username="alice").language == "zh-hans"


def test_a_language_that_was_chosen_stays_over_signing_in(page: Page, portal: str, alice: User) -> None:
    page.goto(f"{portal}/accounts/login/?next=/accounts/")
    page.get_by_role("button", name="简体中文").click()
    expect(page.get_by_label("用户名或电子邮箱")).to_be_visible()
    page.get_by_label("用户名或电子邮箱").fill("alice")
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="登录").click()

    expect(page.get_by_role("heading", name="我的账号")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="My account")).to_be_visible()
    assert User.objects.get(username="alice").language == "en"


def test_the_administration_is_switched_too(page: Page, portal: str, carol: User) -> None:
    page.goto(f"{portal}/admin/")
    page.get_by_label("Username or e-mail address").fill("carol")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="简体中文").click()

    expect(page.get_by_role("heading", name="需要关注")).to_be_visible()
    assert page.url == f"{portal}/admin/"


def test_signing_in_by_script_free_english_is_as_before(page: Page, portal: str, alice: User) -> None:
    page.goto(portal)
    sign_in_and_wait(page, "alice")

    assert page.locator("html").get_attribute("lang") == "en"
