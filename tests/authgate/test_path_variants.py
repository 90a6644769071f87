"""A path with several readings needs access to each of them (CVE-2020-24660, CVE-2026-95811)."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authgate.decision import paths as check_paths
from authgate.decision.evaluation import decide
from authgate.decision.paths import LONGEST_VARIANTS, variants
from authgate.decision.rules import Application, Rule, Verdict, Who
from authgate.decision.target import BadTarget, Target
from authgate.worker.rule_compiler import application_of

OPEN = Rule(1, Who.EVERYONE)
STAFF = Rule(2, Who.CHOSEN, groups=frozenset({1}))

LEAD_TO_ADMIN = {
    "itself": "/admin",
    "below": "/admin/users",
    "trailing slash": "/admin/",
    "many trailing slashes": "/admin///",
    "encoded letter": "/%61dmin",
    "encoded twice": "/%2561dmin",
    "mixed hex": "/%61d%6Din",
    "two slashes": "//admin",
    "three slashes": "///admin",
    "encoded slash in front": "/%2fadmin",
    "slash encoded twice": "/%252fadmin",
    "dot": "/./admin",
    "encoded dot": "/%2e/admin",
    "dot at the end": "/admin/.",
    "dots from the public part": "/public/../admin",
    "dots and encoded slashes": "/public%2f..%2fadmin",
    "dots and a slash encoded twice": "/public%252f..%252fadmin",
    "encoded dots": "/public/%2e%2e/admin",
    "dots encoded twice": "/public/%252e%252e/admin",
    "half encoded dots": "/public/.%2e/admin",
    "dots over two slashes": "/public//../admin",
    "dots over more slashes": "/public/a//../../admin",
    "above the root": "/../../admin",
    "out and in again": "/public/../public/../admin",
    "dots with a parameter": "/public/..;/admin",
    "dots with a parameter's value": "/public/..;x=1/admin",
    "dots with an encoded semicolon": "/public/..%3b/admin",
    "dot with a parameter": "/.;/admin",
    "a segment that is a parameter": "/;x/admin",
    "parameter": "/admin;x=1",
    "parameter and more": "/admin;x=1/users",
    "parameter that hides a slash": "/admin;/public",
    "backslash": "\\admin".replace("\\", "/\\"),
    "backslashes and dots": "/public\\..\\admin",
    "encoded backslash": "/public%5c..%5cadmin",
    "backslash encoded twice": "/public%255c..%255cadmin",
    "upper case": "/ADMIN",
    "mixed case below": "/Admin/Users",
    "encoded upper case": "/%41DMIN",
    "Kelvin's letter case": "/ad%6Din",
    "encoded question mark": "/admin%3fx=1",
    "question mark encoded twice": "/admin%253fx",
    "encoded question mark and slash": "/admin%3f/public",
    "encoded number sign": "/admin%23x",
    "number sign encoded twice": "/admin%2523",
    "encoded question mark after dots": "/public/..%2fadmin%3f",
    "a percent sign that a second decoding drops": "/admin%25",
    "a percent sign in the middle that it drops": "/ad%25min",
    "an escape that it drops": "/admin%25zz",
    "an escape in the middle that it drops": "/ad%25zzmin",
    "an escape that it ends at": "/admin%25zz/../public",
    "a slash in two bytes": "/%c0%afadmin",
    "dots in two bytes": "/public/%c0%ae%c0%ae/admin",
    "dots and slashes in two bytes, encoded twice": "/public%25c0%25af%25c0%25ae%25c0%25ae%25c0%25afadmin",
    "a letter in two bytes": "/%c1%a1dmin",
    "a slash in three bytes": "/%e0%80%afadmin",
    "a slash in four bytes": "/%f0%80%80%afadmin",
    "wide letters": "/%EF%BD%81dmin",
    "a wide slash": "/public%EF%BC%8F..%EF%BC%8Fadmin",
    "two dots in one character": "/public/%E2%80%A5/admin",
    "a wide percent sign": "/%EF%BC%8561dmin",
    "a wide semicolon": "/admin%EF%BC%9Bx",
    "a dotless i": "/adm%C4%B1n",
    "an invisible joiner": "/ad%E2%80%8Cmin",
    "a byte order mark": "/admin%EF%BB%BF",
    "all together": "/public/%2e%2e;a=b%5c/%2541dmin;c//.%3f",
}
NEAR_MISSES = {
    "longer segment": "/administrator",
    "shorter": "/admi",
    "other segment": "/public/admin",
    "in the query alone": "/public/x",
    "three dots": "/public/.../admin",
    "dots in a name": "/public/..admin",
    "dot in front": "/.admin",
    "a character of GBK": "/%c0%a8",
    "two bytes that would be NUL": "/public/%c0%80",
    "encoded thrice": "/%252561dmin",
    "out and back": "/admin-x/../public",
}
UNREADABLE = {
    "a percent sign at the end": "/admin%",
    "a percent sign alone": "/%",
    "a percent sign and letters": "/admin%zz",
    "a percent sign and one digit": "/admin%4",
    "a percent sign and a digit too few": "/admin%4g",
    "a percent sign before a slash": "/public%/x",
    "an escape of Microsoft's": "/%u0061dmin",
    "two percent signs": "/100%%25",
    "a number and a percent sign": "/100%",
    "other digits": "/%\u0661\u0661",
    "encoded NUL": "/admin%00",
    "encoded NUL in the public part": "/public/%00",
    "NUL encoded twice": "/public/%2500",
    "raw number sign": "/public#/../admin",
    "300 slashes": "/public" + "/" * 300,
    "9,000 odd characters": "/public/" + "%41" * 3_000,
}


def application(*rules: tuple[str, bool, Rule]) -> Application:
    return application_of(id=1, name="App", rules=rules)


def verdict(app: Application, path: str) -> Verdict:
    return decide(app, Target("https://a.example", "GET", path, "192.0.2.1"), None, 0.0).verdict


PUBLIC_BUT_ADMIN = application(("/", False, OPEN), ("/admin", False, STAFF))


@pytest.mark.parametrize("path", LEAD_TO_ADMIN.values(), ids=LEAD_TO_ADMIN)
def test_no_spelling_of_the_path_bypasses_the_rule(path: str) -> None:
    assert verdict(PUBLIC_BUT_ADMIN, path) is Verdict.SIGN_IN


@pytest.mark.parametrize("path", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_similar_path_is_not_covered_by_the_rule(path: str) -> None:
    assert verdict(PUBLIC_BUT_ADMIN, path) is Verdict.ALLOW


@pytest.mark.parametrize("path", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_path_is_refused_even_where_everything_is_public(path: str) -> None:
    assert verdict(application(("/", False, OPEN)), path) is Verdict.REFUSE


@pytest.mark.parametrize("path", LEAD_TO_ADMIN.values(), ids=LEAD_TO_ADMIN)
def test_no_spelling_of_a_public_path_leads_to_a_protected_one(path: str) -> None:
    only_public = application(("/", False, STAFF), ("/public", False, OPEN))

    assert verdict(only_public, path) is Verdict.SIGN_IN


def test_a_plain_path_has_one_variant() -> None:
    assert variants("/a/b-c_d.e~f!$&'()*+,=:@") == ("/a/b-c_d.e~f!$&'()*+,=:@",)


@pytest.mark.parametrize(
    "path",
    [
        "/a/b" * 20_000,
        "/" + "%2525" * 1_600,
        "/a;x%255c..%252f.%2e//" * 370,
        "/" * 8_000,
        "/%252e%5c;" * 800,
        "/a" + "%CC%81%CC%A3" * 680,
    ],
)
def test_hostile_paths_are_decided_quickly(path: str) -> None:
    began = time.process_time()

    verdict(PUBLIC_BUT_ADMIN, path)

    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("end", ["/a;", "/a/..", "/%252e", "//", "\\a", "/;"])
@pytest.mark.parametrize("start", ["/a;x/%2e%2e//%5c%3fb/%252f/./", "/%2f%5c;a//%253b/%23/..;/x%255c?/"])
def test_a_long_path_with_many_variants_is_refused_before_all_are_computed(start: str, end: str) -> None:
    made: list[str] = []
    path = (start + end * 8_000)[:8_000]

    with (
        pytest.raises(BadTarget),
        patch.object(check_paths, "_steps", recording_in(made, check_paths._steps)),
    ):
        variants(path)

    # Seven steps are applied to each stored variant.
    assert sum(map(len, made)) <= 7 * (LONGEST_VARIANTS + len(path))


@pytest.mark.parametrize(
    "path", ["/a%20b" + "/c" * 4_000, "/a%2520b" + "/c" * 4_000, "/a//b;c" + "/d" * 4_000]
)
def test_a_long_path_with_few_variants_is_accepted(path: str) -> None:
    assert 1 < len(variants(path)) <= 4


def recording_in(made: list[str], steps: Callable[..., list[tuple[str, int]]]) -> Callable[..., Any]:
    def record(path: str, decoded: int) -> list[tuple[str, int]]:
        found = steps(path, decoded)
        made.extend(text for text, _ in found)
        return found

    return record


# ---- properties: an independent and simple model of servers -----------------------------------------------

PIECES = [
    "/",
    "//",
    "a",
    "A",
    "admin",
    "public",
    "%61",
    "%2561",
    ".",
    "..",
    "%2e",
    "%252e",
    ";",
    ";x",
    "%3b",
    "\\",
    "%5c",
]
PIECES += ["%2f", "%2F", "%252f", "%3f", "%23", "%25", "%", "%zz", "%25zz", "%c3%a9", "e%cc%81", "%ff", "%20"]
paths = st.lists(st.sampled_from(PIECES), max_size=9).map(lambda pieces: "/" + "".join(pieces))
rule_paths = st.sampled_from(
    ["/", "/a", "/A/b", "/admin", "/public", "/public/a", "/public/admin", "/a/public", "/é"]
)


REPAIRS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: re.sub("%(?![0-9a-fA-F]{2})", "", text),
    lambda text: re.sub("%(?![0-9a-fA-F]{2})[^/]{0,2}", "", text),
    lambda text: re.split("%(?![0-9a-fA-F]{2})", text)[0],
)
"""Ways in which servers treat a percent sign that begins no escape."""


def servers(path: str) -> Iterator[str]:
    """Yield the path as each server would read it: servers apply any of these steps, in this order."""
    ways = product(range(3), REPAIRS, ("", "NFC", "NFD"), *[(False, True)] * 4)
    for decoded, repair, form, backslash, cut, parameter, merged in ways:
        seen = path
        for _ in range(decoded):
            seen = unquote(repair(seen), errors="surrogateescape")
        if form:
            seen = unicodedata.normalize(form, seen)
        if backslash:
            seen = seen.replace("\\", "/")
        if cut:
            seen = seen.split("?")[0].split("#")[0]
        if parameter:
            seen = "/".join(segment.split(";")[0] for segment in seen.split("/"))
        if merged:
            seen = re.sub("/+", "/", seen)
        yield seen
        yield without_dots(seen)


def without_dots(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept).lstrip("/") if not path.startswith("//") else "/" + "/".join(kept[1:])


def covers(scope: str, path: str) -> bool:
    scope, path = unicodedata.normalize("NFC", scope), unicodedata.normalize("NFC", path)
    return scope == "/" or path == scope or path.startswith(f"{scope}/")


def is_open_to_a_server(open_paths: frozenset[str], all_paths: frozenset[str], path: str) -> bool:
    nearest = max((scope for scope in all_paths if covers(scope, path)), key=len, default=None)
    return nearest in open_paths


@given(st.frozensets(rule_paths, max_size=4), st.frozensets(rule_paths, max_size=4), paths)
def test_an_allowed_path_is_open_in_every_reading_of_a_server(
    opened: frozenset[str], closed: frozenset[str], path: str
) -> None:
    opened -= closed
    app = application(*((p, False, OPEN) for p in opened), *((p, False, STAFF) for p in closed))

    if verdict(app, path) is Verdict.ALLOW:
        assert all(is_open_to_a_server(opened, opened | closed, seen) for seen in servers(path))


@given(paths.filter(lambda path: re.search("%(?![0-9a-f]{2})", path, re.IGNORECASE)))
def test_a_malformed_escape_is_refused(path: str) -> None:
    assert verdict(application(("/", False, OPEN)), path) is Verdict.REFUSE


@pytest.mark.long
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0#"), max_size=12))
def test_any_fully_encoded_text_is_an_allowed_path(text: str) -> None:
    assume("%00" not in unicodedata.normalize("NFKC", text))

    assert verdict(application(("/", False, OPEN)), "/" + quote(text, safe="")) is Verdict.ALLOW


@given(paths)
def test_variants_of_variants_are_included(path: str) -> None:
    try:
        found = variants(path)
    except BadTarget:
        return

    assert found[0] == path
    assert len(set(found)) == len(found)
    for reading in found:
        assert reading.replace("\\", "/") in found
        assert re.sub("/{2,}", "/", reading) in found
        assert re.sub(";[^/]*", "", reading) in found or not re.sub(";[^/]*", "", reading)


@given(st.text(max_size=40).map(lambda text: f"/{text}"))
def test_any_text_is_accepted_or_refused_without_an_error(path: str) -> None:
    try:
        assert variants(path)[0] == path
    except BadTarget as problem:
        assert str(problem) == "path"
