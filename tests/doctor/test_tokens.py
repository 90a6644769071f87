"""A token of the doctor gives no access, and nobody else can use or create one."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from django.core.cache import caches

from accounts.models import User
from authgate.check.request import Facts, headers_from
from authgate.doctor import arrivals, tokens
from authgate.models import Application, AuditEvent, SignIn
from authgate.worker import loader
from tests.authgate.asking import NAVIGATION, WIKI, Headers, ask, endpoint, facts, signed_in
from tests.factories import ApplicationFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])


@pytest.fixture
def alice(db: None) -> User:
    return UserFactory(username="alice", groups=["staff"])


@pytest.fixture
def token(db: None) -> str:
    """A token of a run in progress."""
    token = tokens.new_token(loader.gate_settings().state_keys[0])
    arrivals.expect(token, "run")
    return token


def marked(token: str) -> Headers:
    return [(tokens.HEADER, tokens.MARK + token.encode("latin-1"))]


def test_a_user_who_may_open_the_page_is_refused_with_a_token(
    wiki: Application, alice: User, token: str
) -> None:
    cookie = signed_in(alice)

    assert ask(facts(WIKI, NAVIGATION, cookie=cookie)).status == 200
    assert ask(facts(WIKI, NAVIGATION, marked(token), cookie=cookie)).status == 403


def test_a_public_page_is_refused_with_a_token(wiki: Application, token: str) -> None:
    wiki.rules.update(who="everyone")

    assert ask(facts(WIKI, NAVIGATION)).status == 200
    assert ask(facts(WIKI, NAVIGATION, marked(token))).status == 403


def test_a_recorded_request_contains_what_the_check_received(wiki: Application, token: str) -> None:
    asked = facts(f"{WIKI}/page?x=1", NAVIGATION, marked(token), [(b"x-a", b"1"), (b"x-a", b"\xe4")])
    ask(asked)

    [arrival] = arrivals.arrivals_of(token)
    assert arrival.place == arrivals.CHECK
    assert arrival.facts == asked


def test_a_refused_check_is_recorded_too(token: str) -> None:
    refused = Facts("/authgate/nginx", "", headers_from(marked(token)), "192.0.2.77", time.time())

    assert ask(refused).status == 403
    assert [arrival.facts.peer for arrival in arrivals.arrivals_of(token)] == ["192.0.2.77"]
    assert not AuditEvent.objects.exists()


def test_a_token_stops_working_when_its_run_ends(wiki: Application, alice: User, token: str) -> None:
    arrivals.forget(token)

    assert ask(facts(WIKI, NAVIGATION, marked(token), cookie=signed_in(alice))).status == 200
    assert arrivals.arrivals_of(token) == []


def test_a_limited_number_of_requests_with_a_token_is_recorded(wiki: Application, token: str) -> None:
    for _ in range(arrivals.MOST + 5):
        ask(facts(WIKI, marked(token)))

    assert len(arrivals.arrivals_of(token)) == arrivals.MOST


def test_a_large_request_head_is_recorded_in_part(wiki: Application, token: str) -> None:
    ask(facts(WIKI, marked(token), [(b"x-a", b"a" * 10_000), (b"x-b", b"b" * 10_000)]))

    [arrival] = arrivals.arrivals_of(token)
    assert sum(len(value) for value in arrival.facts.headers.values.values()) < arrivals.LARGEST


def forged_tokens() -> list[str]:
    other = base64.urlsafe_b64encode(b"\0" * 32).rstrip(b"=").decode()
    return ["", "x", "A" * 43, other, "A" * 42 + "=", "A" * 44, "\xe4" * 43, "%00" * 14 + "A", "!" * 43]


@pytest.mark.parametrize("text", forged_tokens())
def test_a_forged_token_is_an_ordinary_request_and_needs_no_query(
    text: str, wiki: Application, alice: User, django_assert_num_queries: Any
) -> None:
    asked, memory = facts(WIKI, NAVIGATION, marked(text)), loader.memory_for_one_request()
    assert ask(asked, memory).status == 302

    with django_assert_num_queries(0):
        assert ask(asked, memory).status == 302


def test_a_token_of_another_key_is_ignored() -> None:
    token = tokens.new_token(b"another key")

    assert tokens.token_in(dict(marked(token)), loader.gate_settings().state_keys) is None


def test_a_token_does_not_sign_a_user_out(wiki: Application, alice: User, token: str) -> None:
    cookie = signed_in(alice)
    headers = [*marked(token), (b"sec-fetch-site", b"same-origin")]
    answers = [
        endpoint(f"/authgate/{name}", WIKI, headers, cookie=cookie)
        for name in ("sign_out", "userinfo", "callback")
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert SignIn.objects.filter(ended_at=None).count() == 1
    assert {arrival.place for arrival in arrivals.arrivals_of(token)} == {"sign_out", "userinfo", "callback"}


def test_the_cache_does_not_contain_the_token(wiki: Application, token: str) -> None:
    ask(facts(WIKI, NAVIGATION, marked(token)))

    assert caches["codes"].get(f"doctor:{token}") is None
    assert caches["codes"].get(token) is None
