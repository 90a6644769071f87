"""The query of a check: filters that restrict access, and faults."""

from __future__ import annotations

import pytest

from authgate.check.query import NO_QUERY, query_from
from authgate.decision.evaluation import decide
from authgate.decision.rules import Filters, Rule, Subject, Verdict, Who
from authgate.decision.target import Target
from authgate.worker.rule_compiler import application_of

PUBLIC = application_of(id=1, name="App", rules=[("/", False, Rule(1, Who.EVERYONE))])

READ = {
    "nothing": ("", None),
    "a group": ("allowed_groups=staff", Filters(groups=frozenset({"staff"}))),
    "groups": ("allowed_groups=staff,ops", Filters(groups=frozenset({"staff", "ops"}))),
    "empty entries": ("allowed_groups=,staff,,", Filters(groups=frozenset({"staff"}))),
    "encoded": ("allowed_groups=a%20b+c%2Cd", Filters(groups=frozenset({"a b c", "d"}))),
    "UTF-8": ("allowed_groups=%E4%B8%AD", Filters(groups=frozenset({"中"}))),
    "addresses": ("allowed_emails=a%40b.c", Filters(emails=frozenset({"a@b.c"}))),
    "domains": ("allowed_email_domains=b.c,.d.e", Filters(email_domains=("b.c", ".d.e"))),
    "an equals sign in the value": ("allowed_groups=a=b", Filters(groups=frozenset({"a=b"}))),
}
NO_FILTER = {
    "empty": "allowed_groups=",
    "without a value": "allowed_groups",
    "only commas": "allowed_groups=,,",
    "repeated": "allowed_groups=a&allowed_groups=b",
    "repeated beside another": "allowed_groups=a&allowed_emails=b@c.d&allowed_groups=a",
    "empty beside a good one": "allowed_groups=a&allowed_emails=",
    "unknown": "groups=a",
    "unknown beside a good one": "allowed_groups=a&x=y",
    "singular": "allowed_group=a",
    "other case": "Allowed_Groups=a",
    "encoded name": "allowed%5Fgroups=a",
    "a space in front": "+allowed_groups=a",
    "brackets": "allowed_groups[]=a",
    "a semicolon": "x;allowed_groups=a",
    "an ampersand alone": "&",
    "an ampersand behind": "allowed_groups=a&",
    "a page to go to": "rd=/",
    "a code": "ikdcode=" + "C" * 43,
    "1,001 parameters": "a=b&" * 1001,
    "10 kB": "a" * 10_000,
    "raw bytes": "\xff\x00",
}


@pytest.mark.parametrize(("query", "filters"), READ.values(), ids=READ)
def test_each_filter_is_read(query: str, filters: Filters) -> None:
    assert query_from(query) == NO_QUERY._replace(filters=filters)


@pytest.mark.parametrize("query", NO_FILTER.values(), ids=NO_FILTER)
def test_any_other_parameter_is_a_fault(query: str) -> None:
    fault = query_from(query).fault

    assert 0 < len(fault) <= 60


EMAILS = {
    "the domain": ("a@example.com", "example.com", True),
    "a domain below": ("a@sub.example.com", "example.com", False),
    "a domain below, dotted": ("a@sub.example.com", ".example.com", True),
    "a domain below, starred": ("a@sub.example.com", "*.example.com", True),
    "the domain itself, dotted": ("a@example.com", ".example.com", True),
    "a longer name": ("a@evilexample.com", ".example.com", False),
    "a longer name, exact": ("a@evilexample.com", "example.com", False),
    "other case": ("a@Example.com", "example.com", False),
    "two at signs": ("a@evil.example@example.com", "example.com", False),
    "quoted at sign": ('"a@b"@example.com', "example.com", False),
    "no local part": ("@example.com", "example.com", False),
    "no address": ("", "example.com", False),
    "no at sign": ("example.com", "example.com", False),
    "nothing but a star": ("a@example.com", "*", False),
    "nothing but a dot": ("a@example.com", ".", False),
    "a star without a dot": ("a@evilexample.com", "*example.com", False),
    "the local part": ("example.com@evil.example", "example.com", False),
}


@pytest.mark.parametrize(("email", "domain", "passes"), EMAILS.values(), ids=EMAILS)
def test_domains_are_compared_as_oauth2_proxy_does(email: str, domain: str, passes: bool) -> None:
    subject = Subject(1, "", "x", email=email)

    decision = decide(
        PUBLIC, Target("https://a", "GET", "/", ""), subject, 0.0, Filters(email_domains=(domain,))
    )

    assert decision.verdict is (Verdict.ALLOW if passes else Verdict.REFUSE)


def test_an_empty_item_does_not_match_users_without_a_verified_address() -> None:
    filters = query_from("allowed_emails=,a@b.c,").filters

    assert filters is not None and filters.emails == {"a@b.c"}


def test_a_filter_needs_a_sign_in_even_where_everything_is_public() -> None:
    decision = decide(
        PUBLIC, Target("https://a", "GET", "/", ""), None, 0.0, Filters(groups=frozenset({"staff"}))
    )

    assert decision.verdict is Verdict.SIGN_IN
