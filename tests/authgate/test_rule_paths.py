"""Rules with invalid paths, saved without validation, still protect the paths that they were meant for."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from authgate.decision.evaluation import decide
from authgate.decision.rules import Rule, Verdict, Who
from authgate.decision.target import Target
from authgate.worker.rule_compiler import application_of

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
def test_an_unusual_spelling_of_a_rules_path_still_protects_that_path(written: str) -> None:
    for path in ("/admin", "/admin/x"):
        assert verdict(path, ("/", False, OPEN), (written, False, STAFF)) is not Verdict.ALLOW


@pytest.mark.parametrize(
    "written", ["//public", "/./public", "/%70ublic", "/x/../public", "/public;x", "/public?x", "/public#x"]
)
def test_a_rules_path_with_two_meanings_grants_nothing(written: str) -> None:
    assert verdict("/public", ("/", False, STAFF), (written, False, OPEN)) is not Verdict.ALLOW


@pytest.mark.parametrize("written", ["/public/", "public"])
def test_extra_or_missing_slashes_in_a_rules_path_change_nothing(written: str) -> None:
    assert verdict("/public/x", ("/", False, STAFF), (written, False, OPEN)) is Verdict.ALLOW


@pytest.mark.parametrize("written", ["/caf\u00e9", "/a b", "/a,b", "/a+b", "/[x]|^é", '/"'])
@pytest.mark.parametrize("exact", [True, False])
def test_a_rule_with_any_letters_admits_the_path_that_browsers_send(written: str, exact: bool) -> None:
    sent = quote(written, safe="/!$&'()*+,:=@~[]^|%")  # URL standard, path percent-encode set

    assert verdict(sent, (written, exact, OPEN)) is Verdict.ALLOW


COMPOSED, DECOMPOSED = "/caf\u00e9", "/cafe\u0301"


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED], ids=["composed", "decomposed"])
@pytest.mark.parametrize("asked", [COMPOSED, DECOMPOSED], ids=["asked composed", "asked decomposed"])
@pytest.mark.parametrize("exact", [True, False])
def test_a_rule_covers_its_path_in_every_unicode_composition(written: str, asked: str, exact: bool) -> None:
    sent = quote(asked)

    assert verdict(sent, ("/", False, OPEN), (written, exact, STAFF)) is Verdict.SIGN_IN
    assert verdict(sent, ("/", False, STAFF), (written, exact, OPEN)) is Verdict.ALLOW


def test_a_path_in_another_composition_and_letter_case_is_covered() -> None:
    shut = (COMPOSED, False, STAFF)

    for asked in ("/CAFE\u0301", "/CAF\u00c9", "/Cafe\u0301/menu"):
        assert verdict(quote(asked), ("/", False, OPEN), shut) is Verdict.SIGN_IN


def test_rules_that_differ_only_in_letter_case_cover_decomposed_paths_too() -> None:
    rules = [("/", False, OPEN), ("/Caf\u00e9", False, STAFF), ("/caf\u00e9", False, OPEN)]

    for order in (rules, rules[::-1]):
        assert verdict(quote("/Cafe\u0301"), *order) is Verdict.SIGN_IN


def test_a_rule_with_wide_characters_does_not_open_the_plain_path() -> None:
    wide, plain = "/\u6587\uff08\u516c\uff09", "/\u6587(\u516c)"

    assert verdict(quote(wide), ("/", False, STAFF), (wide, False, OPEN)) is Verdict.ALLOW
    assert verdict(quote(plain), ("/", False, STAFF), (wide, False, OPEN)) is Verdict.SIGN_IN


@pytest.mark.parametrize("sent", ["/100%25", "/100%25/x", "/docs/100%25zz", "/%25"])
def test_a_path_with_an_encoded_percent_sign_is_allowed(sent: str) -> None:
    assert verdict(sent, ("/", False, OPEN), ("/admin", False, STAFF)) is Verdict.ALLOW


def test_a_rule_with_a_percent_sign_protects_its_path_and_grants_nothing() -> None:
    assert verdict("/100%25", ("/", False, OPEN), ("/100%", False, STAFF)) is Verdict.REFUSE
    assert verdict("/100%25", ("/100%", False, OPEN)) is Verdict.REFUSE


def test_a_second_spelling_of_a_scope_does_not_remove_its_rules() -> None:
    rules = [("/admin", False, OPEN), ("/x/../admin", False, STAFF)]

    assert verdict("/admin", *rules) is Verdict.ALLOW
    assert verdict("/admin", *reversed(rules)) is Verdict.ALLOW
