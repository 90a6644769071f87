"""The portal in Chinese: chosen by the browser, and switched by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from tests.browser.signing_in import sign_in_and_wait
from tests.factories import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def chinese(chromium: Browser) -> Iterator[Page]:
    """A browser that prefers Chinese."""
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


def test_a_chosen_language_is_kept_after_signing_in(page: Page, portal: str, alice: User) -> None:
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


def test_the_language_of_the_administration_can_be_switched_too(page: Page, portal: str, carol: User) -> None:
    page.goto(f"{portal}/admin/")
    page.get_by_label("Username or e-mail address").fill("carol")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="简体中文").click()

    expect(page.get_by_role("heading", name="需要关注")).to_be_visible()
    assert page.url == f"{portal}/admin/"


def test_an_english_browser_without_scripts_signs_in_in_english(page: Page, portal: str, alice: User) -> None:
    page.goto(portal)
    sign_in_and_wait(page, "alice")

    assert page.locator("html").get_attribute("lang") == "en"
