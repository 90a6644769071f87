"""What starts at one portal continues at the other, and what ends at one has ended at both."""

from __future__ import annotations

import pytest

from accounts.lock_links import new_link
from accounts.models import User
from tests.factories import PASSWORD
from tests.faults.browser import TOKEN, Browser
from tests.front.serving import Portal, Reply, eventually
from tests.several.stage import Several

pytestmark = [pytest.mark.proxy, pytest.mark.xdist_group("several")]

BELIEVED = 1.0
"""Seconds within which every portal knows that access ended."""

ATTEMPTS = 5
"""Wrong passwords for one account from one address (IKD_LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS)."""


def browser_at(portal: Portal, several: Several) -> Browser:
    return Browser(portal, several.portal_host)


def code_for(browser: Browser, several: Several) -> str:
    """Open the site in a signed-in browser, and return the path with the one-time code."""
    way = browser.continue_to(several.origin)
    path = browser.get(way).header("location").removeprefix(several.origin)
    assert "ikdcode=" in path
    return path


def use_code(portal: Portal, several: Several, browser: Browser, path: str) -> Reply:
    """Use a one-time code, as Traefik's check does."""
    with portal.connect() as proxy:
        return proxy.check(
            browser.cookie_of_site,
            origin=several.origin,
            path=path,
            check="/authgate/traefik",
            Sec_Fetch_Mode="navigate",
            Accept="text/html",
        )


def gate_cookie(reply: Reply, several: Several) -> str:
    """Return the gate cookie that an answer sets, or an empty text."""
    lines = [value.partition(";")[0] for name, value in reply.headers if name == "set-cookie"]
    return next((line for line in lines if line.startswith(several.cookie_name) and line[-1] != "="), "")


def statuses(several: Several, cookie: str) -> list[int]:
    return [portal.ask(cookie, origin=several.origin).status for portal in several.portals.values()]


def sign_in_and_out(several: Several, name: str) -> None:
    """Sign in at one portal, use the code at the other, sign out there, and be signed out at both."""
    first, second = several.portals["a"], several.portals["b"]
    browser = browser_at(first, several)
    assert browser.sign_in(name, PASSWORD).status == 302
    code = code_for(browser.at(second), several)

    entered = use_code(first, several, browser, code)
    again = [use_code(portal, several, browser, code) for portal in (second, first)]
    cookie = gate_cookie(entered, several)

    assert cookie and [gate_cookie(each, several) for each in again] == ["", ""]
    assert statuses(several, cookie) == [200, 200]
    page = browser.at(second).get("/accounts/logout/")
    found = TOKEN.search(page.body)
    assert found is not None
    browser.get("/accounts/logout/", "POST", b"csrfmiddlewaretoken=" + found[1])
    assert eventually(lambda: statuses(several, cookie) == [401, 401], BELIEVED + 1)
    assert browser.at(first).get("/").status == 302


def try_passwords(several: Several, name: str) -> None:
    """Use up the attempts at both portals in turn. Then, neither accepts the right password."""
    browsers = [browser_at(portal, several) for portal in several.portals.values()]
    wrong = [browsers[number % 2].sign_in(name, "wrong").status for number in range(ATTEMPTS)]
    right = [browser.sign_in(name, PASSWORD).status for browser in browsers]

    assert (wrong, right) == ([200] * ATTEMPTS, [429, 429])


def test_codes_and_sign_outs_apply_at_both_portals(several: Several) -> None:
    sign_in_and_out(several, "alice")


def test_limits_count_attempts_at_all_portals(several: Several) -> None:
    try_passwords(several, "frank")


def test_an_account_locked_at_one_portal_is_signed_out_at_both(several: Several) -> None:
    first, second = several.portals["a"], several.portals["b"]
    browser = browser_at(second, several)
    assert browser.sign_in("erin", PASSWORD).status == 302
    cookie = gate_cookie(use_code(second, several, browser, code_for(browser, several)), several)
    assert statuses(several, cookie) == [200, 200]
    erin = User.objects.get(username="erin")
    link = new_link(erin.pk, erin.email).partition("/accounts/")[2]
    somebody = browser_at(first, several)
    found = TOKEN.search(somebody.get(f"/accounts/{link}").body)
    assert found is not None

    locked = somebody.get(f"/accounts/{link}", "POST", b"csrfmiddlewaretoken=" + found[1]).status

    assert locked == 302
    assert eventually(lambda: statuses(several, cookie) == [401, 401], BELIEVED + 1)
    assert browser.get("/").status == 302


def test_codes_and_limits_in_tables_apply_at_both_portals_too(on_sqlite: Several) -> None:
    sign_in_and_out(on_sqlite, "alice")
    try_passwords(on_sqlite, "frank")
