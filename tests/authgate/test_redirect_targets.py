"""Redirect targets: tricks from public lists of open redirects, and the expected result of each."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.redirect_targets import LONGEST_PAGE, domain_matches, validate_target

APP = "https://app.example.com"
ALLOWED = {APP, "https://wiki.example.org:8443", "http://plain.example.com"}

GOOD = {
    "a path": ("/page", f"{APP}/page"),
    "the root": ("/", f"{APP}/"),
    "path, query and fragment": ("/a?b=c&d#e", f"{APP}/a?b=c&d#e"),
    "an address in the query": ("/a?u=https://evil.example/", f"{APP}/a?u=https://evil.example/"),
    "slashes further on": ("/a//b", f"{APP}/a//b"),
    "encoded slash": ("/%2F/evil.example", f"{APP}/%2F/evil.example"),
    "encoded tab": ("/%09/evil.example", f"{APP}/%09/evil.example"),
    "encoded line end": ("/%0d%0aSet-Cookie:a=b", f"{APP}/%0d%0aSet-Cookie:a=b"),
    "dots": ("/../../x", f"{APP}/../../x"),
    "dots and two slashes": ("/..//evil.example", f"{APP}/..//evil.example"),
    "user info in the path": ("/@evil.example", f"{APP}/@evil.example"),
    "an address as path": ("/https://evil.example", f"{APP}/https://evil.example"),
    "percent codes stay": ("/%zz%ff%C3%a9", f"{APP}/%zz%ff%C3%a9"),
    "raw UTF-8": ("/café?中", f"{APP}/caf%C3%A9?%E4%B8%AD"),
    "a slash of another script in the path": ("/\uff0fevil.example", f"{APP}/%EF%BC%8Fevil.example"),
    "an application": (f"{APP}/page?x#y", f"{APP}/page?x#y"),
    "an application without path": (APP, f"{APP}/"),
    "a query without path": (f"{APP}?x", f"{APP}/?x"),
    "a fragment without path": (f"{APP}#x", f"{APP}/#x"),
    "other letter case": ("HTTPS://APP.Example.COM/P", f"{APP}/P"),
    "default port": (f"{APP}:443/", f"{APP}/"),
    "trailing dot": (f"{APP}./", f"{APP}/"),
    "an application's port": ("https://wiki.example.org:8443/x", "https://wiki.example.org:8443/x"),
    "without https where that is allowed": ("http://plain.example.com/", "http://plain.example.com/"),
    "an address in the path": (f"{APP}/https://evil.example@x", f"{APP}/https://evil.example@x"),
    "1,001 parameters": ("/?" + "a&" * 1001, f"{APP}/?" + "a&" * 1001),
}
EVIL = {
    "nothing": "",
    "a stranger": "https://evil.example/",
    "a stranger's path": "https://evil.example/app.example.com",
    "a stranger's query": "https://evil.example?https://app.example.com/",
    "a stranger's fragment": "https://evil.example#app.example.com",
    "two slashes": "//evil.example",
    "three slashes": "///evil.example",
    "two slashes of an application": "//app.example.com/",
    "backslash": "/\\evil.example",
    "backslashes": "\\\\evil.example",
    "backslash and slash": "\\/evil.example",
    "backslash in the middle": "/a\\b",
    "tab between slashes": "/\t/evil.example",
    "two slashes and a tab": "//\t/example.com",
    "two tabs": "/\t\t/\t/evil.com",
    "tabs and a backslash": "/\t\t\\\t/evil.com",
    "line end between slashes": "/\n/evil.example",
    "carriage return": "/\r/evil.example",
    "line end behind": "/page\n",
    "CR LF and a header": "/page\r\nSet-Cookie: a=b",
    "NUL": "/\x00/evil.example",
    "escape": "\x1b/evil.example",
    "DEL": "/a\x7f",
    "a control character of C1": "/a\x85",
    "space in front": " /page",
    "space in front of an address": " https://app.example.com/",
    "space inside": "/a b",
    "space behind": "https://app.example.com /",
    "no-break space": "/\u00a0/evil.example",
    "em space": "\u2003//evil.example",
    "line separator": "/\u2028/evil.example",
    "zero-width space": "/\u200b/evil.example",
    "byte order mark": "\ufeff//evil.example",
    "right-to-left override": "/\u202ea",
    "half a surrogate": "/\udcff",
    "user info": "https://app.example.com@evil.example/",
    "user and password": "https://app.example.com:443@evil.example/",
    "user info of an application": "https://evil.example@app.example.com/",
    "empty user info": "https://@app.example.com/",
    "encoded user info": "https://app.example.com%40evil.example/",
    "backslash and user info": "https://app.example.com\\@evil.example/",
    "backslash behind the host": "https://evil.example\\app.example.com",
    "one slash": "https:/evil.example",
    "one slash of an application": "https:/app.example.com/",
    "no slash": "https:evil.example",
    "no slash of an application": "https:app.example.com",
    "three slashes behind the scheme": "https:///app.example.com/",
    "no host": "https://",
    "only a port": "https://:443/",
    "no scheme": "app.example.com/",
    "only a query": "?x",
    "only a fragment": "#x",
    "dots": "../x",
    "script": "javascript:alert(1)",
    "script as an address": "javascript://app.example.com/%0aalert(1)",
    "script in other case": "JaVaScRiPt:alert(1)",
    "data": "data:text/html,x",
    "WebSocket": "wss://app.example.com/",
    "file": "file:///etc/passwd",
    "ftp": "ftp://app.example.com/",
    "view-source": "view-source:https://app.example.com/",
    "scheme with a letter that folds to ASCII": "http\u017f://app.example.com/",
    "without https": "http://app.example.com/",
    "https where only http is": "https://plain.example.com/",
    "another port": f"{APP}:8443/",
    "no port where one is": "https://wiki.example.org/",
    "port 0": f"{APP}:0/",
    "port too high": f"{APP}:99999/",
    "port of letters": f"{APP}:x/",
    "empty port": f"{APP}:/",
    "leading zero": f"{APP}:0443/",
    "longer name": "https://app.example.com.evil.example/",
    "name without a dot between": "https://evilapp.example.com/",
    "name as suffix": "https://xapp.example.com/",
    "a name below": "https://a.app.example.com/",
    "the name above": "https://example.com/",
    "two trailing dots": f"{APP}../",
    "wildcard": "https://*.example.com/",
    "encoded dot": "https://app%2eexample.com/",
    "full stop of another script": "https://app\u3002example.com/",
    "slash of another script": "https://app.example.com\uff0fevil.example",
    "letters of another width": "https://\uff41pp.example.com/",
    "letter that folds to ASCII": "https://ap\u212a.example.com/",
    "soft hyphen": "https://a\u00adpp.example.com/",
    "decimal address": "https://2130706433/",
    "hexadecimal address": "https://0x7f.1/",
    "IPv6": "https://[::1]/",
    "IPv6 open": "https://[::1/",
    "IPv6 and a name": "https://[::1]app.example.com/",
    "number sign in the host": "https://evil.example#@app.example.com/",
    "question mark in the host": "https://evil.example?@app.example.com/",
    "semicolon": "https://evil.example;app.example.com/",
    "comma": "https://app.example.com,evil.example/",
    "9,000 characters": "/" + "a" * 9_000,
}


def verdict(target: str | None) -> str | None:
    return validate_target(target, base=APP, allowed=ALLOWED.__contains__)


@pytest.mark.parametrize(("target", "url"), GOOD.values(), ids=GOOD)
def test_an_allowed_target_is_accepted(target: str, url: str) -> None:
    assert verdict(target) == url


@pytest.mark.parametrize("target", EVIL.values(), ids=EVIL)
def test_any_other_target_is_refused(target: str) -> None:
    assert verdict(target) is None


def test_a_missing_target_is_refused() -> None:
    assert verdict(None) is None


# ---- properties -------------------------------------------------------------------------------------------

NASTY = [
    "/",
    "//",
    "\\",
    ":",
    "@",
    "?",
    "#",
    ".",
    "..",
    "%",
    "%2f",
    "%5c",
    "\t",
    "\n",
    "\r",
    "\0",
    " ",
    ";",
    ",",
    "&",
    "[",
    "]",
]
NASTY += [
    "http",
    "https",
    "https:",
    "https://",
    "HTTPS://",
    "javascript:",
    "app.example.com",
    "evil.example",
    "a",
    ":443",
    ":80",
]
NASTY += [
    "\u2003",
    "\u3002",
    "\uff0f",
    "\u017f",
    "\u212a",
    "\x85",
    "é",
    "\udc80",
    "*",
    "xn--",
    "0x7f.1",
    "data:",
]
nasty = st.lists(st.sampled_from(NASTY), max_size=10).map("".join)


def origin_as_browsers_read(url: str) -> str:
    """Return the origin of an ASCII absolute URL as browsers read it (WHATWG URL standard)."""
    text = re.sub(r"[\t\n\r]", "", url.strip("".join(map(chr, range(33)))))
    match = re.match(r"([a-z][a-z0-9+.-]*):[/\\]*([^/\\?#]*)", text, re.IGNORECASE)
    assert match is not None
    return f"{match[1].lower()}://{match[2].rpartition('@')[2].lower()}"


@given(
    st.one_of(
        nasty,
        st.text(max_size=60),
        nasty.map(lambda text: f"{APP}{text}"),
        nasty.map(lambda text: f"/{text}"),
    )
)
def test_an_accepted_url_leads_to_an_allowed_origin_in_browsers(target: str) -> None:
    url = verdict(target)

    if url is not None:
        assert url.isascii()
        assert url.isprintable()
        assert " " not in url
        assert "\\" not in url
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" in ALLOWED
        assert origin_as_browsers_read(url) in ALLOWED


@given(st.one_of(nasty, nasty.map(lambda text: f"{APP}/{text}")))
def test_an_accepted_url_is_accepted_again_unchanged(target: str) -> None:
    url = verdict(target)

    if url is not None:
        assert verdict(url) == (url if len(url) <= 4096 else None)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://example.com", False),
        ("https://a.example.org", False),
        ("https://exact.example.org", True),
        ("http://exact.example.org", False),
        ("https://exact.example.org:8443", False),
        ("https://below.example.net", True),
        ("https://a.below.example.net", True),
        ("https://xbelow.example.net", False),
        ("https://port.example.net:8443", True),
        ("https://port.example.net", False),
        ("https://star.example.net", True),
        ("https://a.star.example.net", True),
        ("https://[::1]", False),
        ("https://a", False),
    ],
)
def test_trusted_domains_match_as_in_oauth2_proxy(origin: str, expected: bool) -> None:
    domains = [
        "exact.example.org",
        ".below.example.net",
        "PORT.example.net:8443",
        "*.star.example.net",
        "",
        ".",
        "*",
    ]

    assert domain_matches(origin, domains) is expected


def test_only_a_kept_page_may_be_longer_than_a_header() -> None:
    page = "/" + "a" * 5_000

    assert validate_target(page, base="https://sso.example.com", allowed=lambda origin: False) is None
    assert (
        validate_target(
            page, base="https://sso.example.com", allowed=lambda origin: False, longest=LONGEST_PAGE
        )
        == f"https://sso.example.com{page}"
    )
