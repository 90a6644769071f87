"""The queries that clients' calls make, and that memory knows each way in which a token ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from openid import keys, token_feed
from openid.models import ClientSecret, Grant, Token
from openid.token_feed import TokenFeed, TokenMemory
from tests.accounts.conftest import PortalClient
from tests.openid.relying_party import RelyingParty
from tests.openid.test_tokens import ENDS, kid, raw

LONG_AGO = "UPDATE openid_token SET expires_at = '2020-01-01 00:00:00'"
MORE_ENDS: dict[str, Callable[[User], object]] = {
    "grant revoked": lambda alice: Grant.objects.update(revoked_at=timezone.now()),
    "grant ended by raw SQL": lambda alice: raw("UPDATE openid_grant SET ended_at = created_at"),
    "grant deleted": lambda alice: Grant.objects.all().delete(),
    "token deleted by raw SQL": lambda alice: raw("DELETE FROM openid_token"),
    "token expired by raw SQL": lambda alice: raw(
        "UPDATE openid_token SET expires_at = '2020-01-01 00:00:00'"
    ),
    "client switched off by raw SQL": lambda alice: raw("UPDATE openid_client SET enabled = false"),
}


@pytest.fixture
def feed(rp: RelyingParty) -> Iterator[TokenFeed]:
    """A process that has read the feed, without the reading thread."""
    keys.load_or_create()
    feed = token_feed.current = TokenFeed(TokenMemory())
    feed.ensure_memory()
    yield feed
    token_feed.current = None


def pass_time(feed: TokenFeed) -> None:
    """Make the last reading of the feed too old to count."""
    feed.fresh_until = 0.0


def asked(call: Callable[[], Any]) -> tuple[Any, int]:
    """Return a call's answer and its queries. SQLite's PRAGMA of the feed's reading reads no table."""
    with CaptureQueriesContext(connection) as queries:
        answer = call()
    return answer, sum(not query["sql"].startswith("PRAGMA") for query in queries)


def test_a_token_call_makes_at_most_four_queries(
    browser: PortalClient, rp: RelyingParty, feed: TokenFeed
) -> None:
    rp.tokens(browser)
    code = rp.code(browser)
    pass_time(feed)
    exchanged, of_exchange = asked(lambda: rp.exchange(code).json())
    pass_time(feed)
    refreshed, of_refresh = asked(lambda: rp.refresh(exchanged["refresh_token"]).json())

    assert refreshed["id_token"] and refreshed["refresh_token"]
    assert max(of_exchange, of_refresh) <= 4


def test_a_process_that_reads_the_feed_makes_three_queries(
    browser: PortalClient, rp: RelyingParty, feed: TokenFeed, django_assert_num_queries: Any
) -> None:
    tokens = rp.tokens(browser)
    rp.refresh(tokens["refresh_token"])
    code = rp.code(browser)
    feed.ensure_memory()
    feed.fresh_until = float("inf")
    with django_assert_num_queries(3):
        tokens = rp.exchange(code).json()
    with django_assert_num_queries(3):
        rp.refresh(tokens["refresh_token"])
    with django_assert_num_queries(1):
        rp.introspect(tokens["access_token"])


def test_without_memory_a_token_call_makes_a_few_more_queries(
    browser: PortalClient, rp: RelyingParty, django_assert_max_num_queries: Any
) -> None:
    rp.tokens(browser)
    code = rp.code(browser)
    with django_assert_max_num_queries(6):
        tokens = rp.exchange(code).json()
    with django_assert_max_num_queries(6):
        rp.refresh(tokens["refresh_token"])
    with django_assert_max_num_queries(3):
        rp.userinfo(tokens["access_token"])


def test_userinfo_makes_one_query_and_then_none(
    browser: PortalClient, rp: RelyingParty, feed: TokenFeed, django_assert_num_queries: Any
) -> None:
    tokens = rp.tokens(browser)
    rp.userinfo(tokens["access_token"])
    another = rp.tokens(browser)["access_token"]
    feed.ensure_memory()
    feed.fresh_until = float("inf")
    with django_assert_num_queries(1):
        cold = rp.userinfo(another)
    with django_assert_num_queries(0):
        warm = rp.userinfo(another)

    assert (cold.status_code, warm.status_code) == (200, 200)
    assert cold.json() == warm.json()


@pytest.mark.parametrize("end", [*ENDS.values(), *MORE_ENDS.values()], ids=[*ENDS, *MORE_ENDS])
def test_memory_knows_each_way_in_which_a_token_ends(
    browser: PortalClient, rp: RelyingParty, feed: TokenFeed, alice: User, end: Callable[[User], object]
) -> None:
    token = rp.tokens(browser)["access_token"]
    before = [rp.userinfo(token).status_code for _ in range(2)]

    end(alice)
    pass_time(feed)

    assert before == [200, 200]
    assert rp.userinfo(token).status_code == 401


def test_memory_contains_no_refresh_token(browser: PortalClient, rp: RelyingParty, feed: TokenFeed) -> None:
    tokens = rp.tokens(browser)
    rp.userinfo(tokens["access_token"])
    rp.introspect(tokens["refresh_token"])

    assert rp.userinfo(tokens["refresh_token"]).status_code == 401
    assert len(feed.memory) == 1
    assert Token.objects.count() == 2


def test_memory_signs_with_the_keys_that_are_published(
    browser: PortalClient, rp: RelyingParty, feed: TokenFeed
) -> None:
    rp.tokens(browser)
    new = keys.rotate(at_once=True)
    pass_time(feed)

    assert kid(rp.tokens(browser)["id_token"]) == new.kid


def test_a_deleted_secret_is_refused_at_once(
    browser: PortalClient, rp: RelyingParty, feed: TokenFeed
) -> None:
    tokens = rp.tokens(browser)
    ClientSecret.objects.all().delete()

    assert rp.refresh(tokens["refresh_token"]).status_code == 401


def test_no_call_hashes_a_password(browser: PortalClient, rp: RelyingParty, settings: Any) -> None:
    code = rp.code(browser)
    settings.PASSWORD_HASHERS = ["a.hasher.that.cannot.be.Loaded"]
    tokens = rp.exchange(code).json()

    assert rp.refresh(tokens["refresh_token"]).status_code == 200
    assert rp.userinfo(tokens["access_token"]).status_code == 200
    assert rp.introspect(tokens["access_token"])["active"] is True
