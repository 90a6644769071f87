"""No proxy, database or table row goes missing: this counts the tests that pytest collects."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.behaviour import ROWS
from tests.proxies.registry import PUBLISH_NO_CHECK, REMOVE_COOKIES, SPEAK_HTTP2, STARTERS
from tests.test_behaviour import STYLES, WITH_FILTERS

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.server  # collecting takes as long as a server's start

COLLECTED = ("tests/proxies", "tests/feed", "tests/test_behaviour.py", "tests/browser/test_every_page.py")
OF_A_PROXY = re.compile(rf"tests/proxies/(\w+)\.py::(\w+)\[({'|'.join(STARTERS)})[-\]]")

ROWS_AT_LEAST = 122
PROXIES_AT_LEAST = {"nginx", "traefik", "envoy", "haproxy", "caddy", "ingress_nginx"}

EVERY_PROXY = {
    "test_reachability test_only_the_proxy_receives_the_answer_to_a_check": 128,
    "test_reachability test_clients_cannot_request_a_check": 96,
    "test_reachability test_the_portals_own_site_hides_its_checks": 6,
    "test_oddities test_an_odd_request_is_refused": 75,
    "test_oddities test_an_odd_request_cannot_forge_the_user": 75,
    "test_oddities test_no_request_is_smuggled_in_another": 44,
    "test_oddities test_an_odd_request_with_a_cookie_opens_no_other_site": 17,
    "test_oddities test_half_a_request_does_not_reach_an_application": 6,
    "test_spoofing test_identity_headers_of_a_client_are_removed": 70,
    "test_spoofing test_repeated_identity_headers_of_a_client_are_removed": 10,
    "test_spoofing test_a_client_cannot_open_a_tunnel_through_the_proxy": 10,
    "test_spoofing test_a_client_cannot_set_the_headers_of_the_check": 8,
    "test_unsound_portal test_an_invalid_answer_lets_no_request_through": 34,
    "test_unsound_portal test_a_slow_invalid_answer_lets_no_request_through": 6,
    "test_portal_down test_without_a_portal_requests_are_refused": 1,
    "test_portal_down test_with_a_silent_portal_requests_are_refused": 1,
    "test_minimal test_a_user_without_access_is_refused": 1,
    "test_warm test_checks_are_answered_from_memory": 2,
}
"""The least number of rows of each table that runs behind every proxy."""

SOME_PROXIES = {
    "test_spoofing test_the_portals_cookies_do_not_reach_applications": (REMOVE_COOKIES, 40),
    "test_reachability test_sites_hide_the_checks": (PUBLISH_NO_CHECK, 54),
    "test_http2 test_an_odd_http2_request_is_refused": (SPEAK_HTTP2, 11),
}

Rows = Counter[tuple[str, str]]

PAGES_AT_LEAST = 127
EVERY_PAGE = ("test_a_page_is_accessible_and_fits_every_screen", "test_a_page_is_fully_translated")
"""Tests that visit each page of the portal in a browser."""

BOTH_DATABASES = {
    "test_changes": 64,
    "test_ended_sign_ins": 4,
    "test_freshness": 22,
    "test_migrations": 7,
    "test_first_sign_ins": 3,
    "test_revocation": 9,
}
"""The least number of tests of the change feed on each database."""


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """Return the ids of all tests in the tables' folders."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *COLLECTED]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.fixture(scope="module")
def of_proxies(collected: list[str]) -> Rows:
    """Return the number of rows of each test behind each proxy."""
    found = [found for test in collected if (found := OF_A_PROXY.match(test))]
    return Counter((f"{match[1]} {match[2]}", match[3]) for match in found)


def test_the_behaviour_table_keeps_its_rows() -> None:
    assert len(ROWS) >= ROWS_AT_LEAST
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_no_proxy_is_left_out() -> None:
    assert STARTERS.keys() >= PROXIES_AT_LEAST
    assert {"nginx", "envoy", "haproxy", "caddy"} <= set(REMOVE_COOKIES) & set(PUBLISH_NO_CHECK)
    assert {"traefik", "envoy", "haproxy", "caddy"} <= set(SPEAK_HTTP2)


@pytest.mark.parametrize("proxy", STARTERS)
def test_each_row_of_the_behaviour_table_runs_behind(proxy: str, of_proxies: Rows) -> None:
    rows = [row for row in ROWS if not row.query]

    assert of_proxies["test_behaviour test_proxy_has_the_outcome_of_the_table", proxy] == len(rows)


def test_each_row_of_the_behaviour_table_runs_against_the_view(collected: list[str]) -> None:
    rows = sum(1 for check in STYLES for row in ROWS if check in WITH_FILTERS or not row.query)

    assert rows >= 769
    assert (
        sum("tests/test_behaviour.py::test_check_has_the_outcome_of_the_table[" in test for test in collected)
        == rows
    )


@pytest.mark.parametrize("test", EVERY_PROXY)
def test_runs_behind_every_proxy(test: str, of_proxies: Rows) -> None:
    assert [proxy for proxy in STARTERS if of_proxies[test, proxy] < EVERY_PROXY[test]] == []


@pytest.mark.parametrize("test", SOME_PROXIES)
def test_runs_behind_each_proxy_that_supports_it(test: str, of_proxies: Rows) -> None:
    proxies, rows = SOME_PROXIES[test]

    assert [proxy for proxy in proxies if of_proxies[test, proxy] < rows] == []


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
@pytest.mark.parametrize("module", BOTH_DATABASES)
def test_runs_on_both_databases(module: str, vendor: str, collected: list[str]) -> None:
    found = re.compile(rf"tests/feed/{module}\.py::.*{vendor}")

    assert sum(found.match(test) is not None for test in collected) >= BOTH_DATABASES[module]


@pytest.mark.parametrize("test", EVERY_PAGE)
def test_runs_for_every_page(test: str, collected: list[str]) -> None:
    pages = [each for each in collected if f"test_every_page.py::{test}[" in each]

    assert len(pages) >= PAGES_AT_LEAST
