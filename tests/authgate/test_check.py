"""The check's answers to raw headers, with rules from the database."""

from __future__ import annotations

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from accounts.models import User
from authgate.models import Application
from tests.authgate.asking import NAVIGATION, WIKI, ask, facts, header, signed_in
from tests.factories import ApplicationFactory, RuleFactory


@pytest.mark.usefixtures("wiki")
def test_a_member_of_the_right_group_is_allowed_with_identity_headers(alice: User) -> None:
    answer = ask(facts(f"{WIKI}/page", NAVIGATION, cookie=signed_in(alice)))

    assert answer.status == 200
    assert header(answer, b"x-auth-request-user") == b"alice"
    assert header(answer, b"x-auth-request-groups") == b"staff"
    assert header(answer, b"x-auth-request-email") == b"alice@example.com"
    assert header(answer, b"set-cookie") is None
    assert answer.body == b""


@pytest.mark.usefixtures("wiki")
def test_a_signed_in_check_takes_three_queries(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    asked = facts(f"{WIKI}/page", cookie=signed_in(alice))

    with django_assert_num_queries(3):
        assert ask(asked).status == 200


@pytest.mark.usefixtures("wiki")
def test_an_anonymous_check_takes_two_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(2):
        ask(facts(f"{WIKI}/page", NAVIGATION))


@pytest.mark.usefixtures("wiki")
def test_a_visitor_who_opens_a_page_is_sent_to_the_portal() -> None:
    answer = ask(facts(f"{WIKI}/page?a=1", NAVIGATION))

    assert answer.status == 302
    assert (header(answer, b"location") or b"").startswith(b"https://sso.example.com/continue?state=")
    assert (header(answer, b"set-cookie") or b"").startswith(b"__Host-ikd_nonce=")


@pytest.mark.usefixtures("wiki")
def test_another_user_is_refused_with_a_decision_id(bob: User) -> None:
    answer = ask(facts(f"{WIKI}/page", check="/authgate/nginx", cookie=signed_in(bob)))

    assert answer.status == 403
    assert len(header(answer, b"x-auth-decision") or b"") == 12


@pytest.mark.usefixtures("wiki")
def test_a_wildcard_covers_names_at_any_depth_and_the_nearest_origin_wins(alice: User) -> None:
    ApplicationFactory(name="All", origins=["https://*.example.com"], who="everyone")

    assert ask(facts("https://a.b.example.com/")).status == 200
    assert ask(facts(f"{WIKI}/")).status == 401


@pytest.mark.usefixtures("wiki")
def test_the_rules_of_the_most_specific_path_decide(alice: User) -> None:
    RuleFactory(application=Application.objects.get(name="Wiki"), path="/public", who="everyone")

    assert ask(facts(f"{WIKI}/public/x")).status == 200
    assert ask(facts(f"{WIKI}/publicity")).status == 401
    assert ask(facts(f"{WIKI}/public/../x")).status == 401
