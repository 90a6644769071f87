"""Pages that are too long for the state are kept for an hour, in limited number, and never cause an error."""

from __future__ import annotations

import time
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
import time_machine
from django.db import DatabaseError, connection
from django.test import Client

from authgate import kept_pages
from authgate.check.missing import Missing, MissingPage
from authgate.check.pipeline import check
from authgate.check.responses import LONGEST_LOCATION
from authgate.check.state import State, nonce_hash, seal, unseal
from authgate.models import KeptPage
from authgate.worker import loader
from tests.authgate.asking import NAVIGATION, WIKI, ask, endpoint, facts, header
from tests.authgate.browser import Browser
from tests.factories import ApplicationFactory, UserFactory

pytestmark = pytest.mark.django_db

ORDINARY = "/page?" + "q=ordinary&" * 80
LONG = "/page?" + "q=%2Flong+page&x=&x=1&" * 360
PORTAL = "https://sso.example.com"


@pytest.fixture(autouse=True)
def wiki() -> None:
    ApplicationFactory(name="Wiki", origins=[WIKI], who="signed_in")


def state_in(location: str) -> State:
    keys = loader.gate_settings().state_keys
    state = unseal(location.partition("state=")[2], keys, time.time())
    assert state is not None
    return state


def state_for(uri: str, *, client: str = "198.51.100.7") -> State:
    """Request a page without a cookie, and return the state in the redirect to the portal."""
    asked = facts(f"{WIKI}{uri}", NAVIGATION)
    asked = asked._replace(
        headers=type(asked.headers)({**asked.headers.values, b"x-forwarded-for": client.encode()})
    )
    location = (header(ask(asked), b"location") or b"").decode()
    assert len(location) <= LONGEST_LOCATION
    return state_in(location)


@pytest.mark.parametrize("style", ["redirect", "status"])
@pytest.mark.parametrize("uri", [ORDINARY, LONG[:1_400], LONG[:4_000], LONG[:8_000]], ids=len)
def test_the_page_is_opened_byte_for_byte(uri: str, style: str) -> None:
    browser = Browser(style)
    browser.sign_in(UserFactory())

    assert final_address(browser, uri) == f"{WIKI}{uri}"


def final_address(browser: Browser, uri: str) -> str:
    """Return the address on which a browser ends after requesting a page."""
    response = browser.follow(f"{WIKI}{uri}")
    assert response.status_code == 200
    if b"data-onward" in response.content:
        return link_in(response.content.decode())
    return browser.trail[-1]


def link_in(page: str) -> str:
    return unescape(page.partition('<a class="button" href="')[2].partition('"')[0])


def test_an_ordinary_page_is_answered_from_memory_and_writes_nothing(django_assert_num_queries: Any) -> None:
    memory = loader.memory_for_one_request()
    loader.load_application_into(memory, WIKI)

    with django_assert_num_queries(0):
        found = check(facts(f"{WIKI}{ORDINARY}", NAVIGATION), memory)

    assert not isinstance(found, Missing)
    assert found.status == 302


def test_the_check_first_asks_to_keep_a_long_page() -> None:
    memory = loader.memory_for_one_request()
    loader.load_application_into(memory, WIKI)

    found = check(facts(f"{WIKI}{LONG}", NAVIGATION), memory)

    assert isinstance(found, MissingPage)


def test_a_request_of_a_program_keeps_no_page() -> None:
    assert ask(facts(f"{WIKI}{LONG}")).status == 401
    assert not KeptPage.objects.exists()


def test_the_same_page_of_the_same_network_is_kept_once() -> None:
    for _ in range(5):
        state_for(LONG)
    state_for(LONG, client="203.0.113.9")

    assert KeptPage.objects.count() == 2


def test_a_kept_page_is_not_readable_in_the_database() -> None:
    state_for(LONG)

    assert "long" not in str(list(KeptPage.objects.values_list("address", flat=True)))
    with connection.cursor() as cursor:
        cursor.execute("SELECT address FROM authgate_keptpage")
        assert "long" not in str(cursor.fetchall())


def test_one_network_keeps_a_limited_number_and_then_loses_only_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_pages, "PER_NETWORK", 3)
    states = [state_for(f"/page-{number}{LONG}") for number in range(5)]

    assert KeptPage.objects.count() == 3
    assert [bool(state.kept) for state in states] == [True, True, True, False, False]
    assert states[4].uri == "/page-4/page"
    assert state_for(LONG, client="203.0.113.9").kept


def test_an_ipv6_network_counts_as_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_pages, "PER_NETWORK", 1)
    state_for(f"/1{LONG}", client="2001:db8::1")

    assert not state_for(f"/2{LONG}", client="2001:db8::2").kept


def test_all_networks_together_keep_a_limited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_pages, "IN_ALL", 3)
    kept = [state_for(LONG, client=f"203.0.113.{number}").kept for number in range(5)]

    assert [bool(key) for key in kept] == [True, True, True, False, False]


def test_a_page_is_deleted_after_an_hour_and_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_pages, "PER_NETWORK", 1)
    first = state_for(f"/1{LONG}")

    with time_machine.travel(time.time() + 3601, tick=True):
        assert kept_pages.kept(first.kept) is None
        assert state_for(f"/2{LONG}").kept

    assert KeptPage.objects.count() == 1


def test_a_sign_in_after_the_hour_leads_to_the_page_without_its_query() -> None:
    browser = Browser()
    browser.sign_in(UserFactory())
    left = browser.ask(f"{WIKI}{LONG}")["Location"]
    KeptPage.objects.all().delete()

    browser.follow(left)

    assert browser.trail[-1] == f"{WIKI}/page"


def test_a_database_that_cannot_be_written_loses_only_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise DatabaseError("database or disk is full")

    monkeypatch.setattr("django.db.models.query.QuerySet.update_or_create", full)

    assert state_for(LONG).uri == "/page"


def test_a_page_that_is_too_long_for_servers_is_not_kept() -> None:
    state = state_for("/page?" + "x" * 12_000)

    assert (state.kept, state.uri) == ("", "/page")


def test_a_kept_page_of_another_origin_is_not_used() -> None:
    other = kept_pages.keep(f"https://other.example.com{LONG}", "198.51.100.7")
    browser = Browser()
    browser.sign_in(UserFactory())
    settings = loader.gate_settings()
    state = State(WIKI, "/page", nonce_hash("n" * 22), "", int(time.time()), kept=other or "")
    response = browser.ask(f"{PORTAL}/continue?state={seal(state, settings.state_keys[0])}")

    assert response["Location"].startswith(f"{WIKI}/page?ikdcode=")


def test_a_long_rd_parameter_is_kept_too() -> None:
    response = endpoint(f"/authgate/start?rd={quote(LONG, safe='')}", WIKI, NAVIGATION)

    assert kept_pages.kept(state_in(response["Location"]).kept) == f"{WIKI}{LONG}"


def test_a_short_page_is_not_kept(client: Client) -> None:
    assert state_for("/short").kept == ""


def test_the_page_that_continues_to_the_application_escapes_the_address() -> None:
    browser = Browser("status")
    browser.sign_in(UserFactory())
    uri = "/page?" + "a=\"'<script>&" * 300

    response = browser.follow(f"{WIKI}{uri}")

    page = response.content.decode()
    assert "<script>&" not in page
    assert link_in(page) == f"{WIKI}{uri}"
    assert response.status_code == 200 and "default-src 'none'" in response["Content-Security-Policy"]


def test_a_redirect_of_the_portal_fits_into_a_proxys_buffer_for_long_addresses(client: Client) -> None:
    response = client.get("/accounts/?" + "a=b&" * 1_500, headers={"host": "sso.example.com"})

    assert sum(len(name) + len(value) + 4 for name, value in response.items()) <= 4096
    assert link_in(response.content.decode()).startswith("/accounts/login/?next=")
    assert "default-src 'self'" in response["Content-Security-Policy"]
