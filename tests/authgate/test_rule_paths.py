"""Rules that came past the admin's validation still take nothing away from what they were meant to guard."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from authgate.decision import Rule, Verdict, Who, application_of, decide
from authgate.target import Target

OPEN = Rule(1, Who.EVERYONE)
STAFF = Rule(2, Who.CHOSEN, groups=frozenset({1}))


def verdict(path: str, *rules: tuple[str, bool, Rule]) -> Verdict:
    app = application_of(id=1, name="App", rules=rules)
    return decide(app, Target("https://a.example", "GET", path, "192.0.2.1"), None, 0.0).verdict


@pytest.mark.parametrize(
    "written",
    [
        "/admin/",
        "/admin//",
        "admin",
        "admin/",
        "//admin",
        "/./admin",
        "/%61dmin",
        "/x/../admin",
        "/admin;x",
        "\\admin",
        "/admin?x",
        "/admin#x",
    ],
)
def test_a_path_written_oddly_still_claims_what_it_means(written: str) -> None:
    for path in ("/admin", "/admin/x"):
        assert verdict(path, ("/", False, OPEN), (written, False, STAFF)) is not Verdict.ALLOW


@pytest.mark.parametrize(
    "written", ["//public", "/./public", "/%70ublic", "/x/../public", "/public;x", "/public?x", "/public#x"]
)
def test_a_path_that_reads_in_two_ways_grants_nothing(written: str) -> None:
    assert verdict("/public", ("/", False, STAFF), (written, False, OPEN)) is not Verdict.ALLOW


@pytest.mark.parametrize("written", ["/public/", "public"])
def test_a_slash_too_many_or_too_few_changes_nothing(written: str) -> None:
    assert verdict("/public/x", ("/", False, STAFF), (written, False, OPEN)) is Verdict.ALLOW


@pytest.mark.parametrize("written", ["/caf\u00e9", "/a b", "/100%", "/a,b", "/a+b", "/[x]|^é", '/"'])
@pytest.mark.parametrize("exact", [True, False])
def test_a_path_of_any_letters_grants_as_browsers_send_it(written: str, exact: bool) -> None:
    sent = quote(written, safe="/!$&'()*+,:=@~[]^|%")  # URL standard, path percent-encode set

    assert verdict(sent, (written, exact, OPEN)) is Verdict.ALLOW


def test_a_second_spelling_of_a_scope_takes_no_rule_of_it_away() -> None:
    rules = [("/admin", False, OPEN), ("/x/../admin", False, STAFF)]

    assert verdict("/admin", *rules) is Verdict.ALLOW
    assert verdict("/admin", *reversed(rules)) is Verdict.ALLOW
