"""The start of a sign-in on a protected origin: the page to return to, and who may start it."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.http import HttpResponse
from pytest_django import Settings

from authgate.check.state import State
from authgate.endpoints.portal import state_in, with_kept_page
from tests.authgate.asking import (
    NAVIGATION,
    WIKI,
    Headers,
    ask,
    cookies_set,
    endpoint,
    facts,
    header,
    raw_endpoint,
)
from tests.authgate.test_redirect_targets import EVIL
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.usefixtures("wiki")


def state(response: HttpResponse) -> State:
    where = urlsplit(response["Location"])
    assert (response.status_code, where.scheme, where.netloc, where.path) == (
        302,
        "https",
        "sso.example.com",
        "/continue",
    )
    found = state_in(parse_qs(where.query)["state"][0])
    assert found is not None
    return with_kept_page(found)


def start(rd: str | None = None, *more: Headers, **named: str) -> HttpResponse:
    query = "" if rd is None else f"?rd={quote(rd, safe='', errors='surrogateescape')}"
    return endpoint(f"/authgate/start{query}", WIKI, NAVIGATION, *more, **named)  # type: ignore[arg-type]


PAGES = {
    "an address": (f"{WIKI}/page?a=b&c", "/page?a=b&c"),
    "a path": ("/page?a=b", "/page?a=b"),
    "a fragment": (f"{WIKI}/page#part", "/page#part"),
    "other spelling of the origin": ("HTTPS://WIKI.example.com:443/x", "/x"),
    "a code": (f"{WIKI}/page?ikdcode={'C' * 43}&a", "/page?a"),
    "an endpoint": (f"{WIKI}/authgate/sign_out", "/"),
    "an endpoint of the other name": (f"{WIKI}/oauth2/sign_out", "/"),
    "raw UTF-8": ("/café", "/caf%C3%A9"),
    "encoded bytes": ("/caf%E9?q=%zz", "/caf%E9?q=%zz"),
    "nothing": ("", "/"),
    "1,001 parameters": ("/?" + "a&" * 1001, "/?" + "a&" * 1001),
}


@pytest.mark.parametrize(("rd", "uri"), PAGES.values(), ids=PAGES)
def test_the_sign_in_returns_to_the_requested_page(rd: str, uri: str) -> None:
    begun = state(start(rd))

    assert (begun.origin, begun.uri, begun.back) == (WIKI, uri, "/authgate")


@pytest.mark.parametrize("rd", EVIL.values(), ids=EVIL)
def test_the_sign_in_does_not_return_to_a_foreign_page(rd: str) -> None:
    begun = state(start(rd))

    assert (begun.origin, begun.uri) == (WIKI, "/")


@pytest.mark.parametrize("name", [b"x-auth-request-redirect", b"x-forwarded-uri"])
@pytest.mark.parametrize("target", EVIL.values(), ids=EVIL)
def test_no_header_can_redirect_to_a_foreign_page(name: bytes, target: str) -> None:
    headers = [
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"wiki.example.com"),
        (b"x-forwarded-for", b"::1"),
    ]

    begun = state(
        raw_endpoint("/authgate/start", [*headers, *NAVIGATION, (name, target.encode("latin-1", "replace"))])
    )

    assert begun.origin == WIKI
    assert begun.uri.startswith("/")
    assert not begun.uri.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "referer",
    [
        "https://evil.example/x",
        f"{WIKI}.evil.example/x",
        f"{WIKI}@evil.example/",
        f"{WIKI}\\@evil.example",
        f"{WIKI}:8443/x",
        "",
    ],
)
def test_a_foreign_referer_leads_to_the_first_page(referer: str) -> None:
    assert state(start(None, [(b"referer", referer.encode())])).uri == "/"


def test_a_referer_of_this_origin_is_the_requested_page() -> None:
    assert state(start(None, [(b"referer", f"{WIKI}/page?é".encode())])).uri == "/page?%C3%A9"


def test_rd_counts_before_the_header_and_the_header_before_the_uri() -> None:
    redirect = [(b"x-auth-request-redirect", b"/header")]

    assert state(start("/rd", redirect, forwarded_uri="/uri")).uri == "/rd"
    assert state(start(None, redirect, forwarded_uri="/uri")).uri == "/header"
    assert state(start(None, forwarded_uri="/uri")).uri == "/uri"


def test_two_rd_parameters_are_ignored() -> None:
    response = endpoint("/authgate/start?rd=/a&rd=/b", WIKI, NAVIGATION, forwarded_uri="/c")

    assert state(response).uri == "/c"


def test_raw_utf_8_in_the_uri_stays_the_same_bytes() -> None:
    response = start(None, forwarded_uri="/caf\xc3\xa9?\xe4\xb8\xad")

    assert state(response).uri == "/caf%C3%A9?%E4%B8%AD"


def test_a_page_of_another_application_is_redirected_to_directly() -> None:
    ApplicationFactory(name="Blog", origins=["https://blog.example.org"], who="everyone")

    assert start("https://blog.example.org/x")["Location"] == "https://blog.example.org/x"


@pytest.mark.parametrize("rd", [f"/x?{'a&' * 1001}", "/" + "x" * 3_000, "/?" + "%zz" * 1_000])
def test_the_answer_is_short_for_any_rd(rd: str) -> None:
    response = start(rd)

    assert sum(len(name) + len(value) + 4 for name, value in response.items()) <= 4096


def test_a_thousand_parameters_beside_rd_cause_no_error() -> None:
    response = endpoint(f"/authgate/start?{'a&' * 1001}rd=/page", WIKI, NAVIGATION)

    assert state(response).uri == "/page"


@pytest.mark.parametrize("name", ["start", "callback", "sign_out", "userinfo", "refused"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://sso.example.com",
        "http://wiki.example.com",
        "https://wiki.example.com:8443",
    ],
)
def test_an_endpoint_of_an_unknown_origin_is_refused(name: str, origin: str) -> None:
    response = endpoint(f"/authgate/{name}?rd=/&ikdcode={'C' * 43}", origin, NAVIGATION)

    assert response.status_code == 403
    assert "Location" not in response
    assert cookies_set(response) == {}


@pytest.mark.parametrize("missing", [b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-for"])
@pytest.mark.parametrize("name", ["start", "callback", "sign_out", "userinfo", "refused"])
def test_an_endpoint_needs_all_headers_of_its_contract_too(name: str, missing: bytes) -> None:
    headers = [
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"wiki.example.com"),
        (b"x-forwarded-for", b"::1"),
    ]

    assert (
        raw_endpoint(f"/authgate/{name}", [pair for pair in headers if pair[0] != missing]).status_code == 400
    )


def test_an_endpoint_ignores_the_host_of_its_own_request() -> None:
    headers = [(b"host", b"wiki.example.com"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"::1")]

    assert raw_endpoint("/authgate/start", headers).status_code == 400


# ---- under the check itself, in redirect style ------------------------------------------------------------


@pytest.mark.parametrize("name", ["start", "callback", "sign_out", "userinfo", "refused", "sign_in"])
@pytest.mark.parametrize("hints", [NAVIGATION, []], ids=["page", "program"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("prefix", ["/authgate", "/oauth2"])
def test_a_check_for_an_endpoint_is_never_let_through(
    prefix: str, method: str, hints: Headers, name: str, settings: Settings
) -> None:
    settings.IKD_OAUTH2_CONTRACT = "traefik"
    ApplicationFactory(name="Open", origins=["https://open.example.com"], who="everyone")
    check = "/oauth2/auth" if prefix == "/oauth2" else "/authgate/traefik"

    answer = ask(facts(f"https://open.example.com{prefix}/{name}", hints, check=check, method=method))

    assert answer.status >= 300


def test_a_thousand_parameters_for_an_endpoint_cause_no_error() -> None:
    answer = ask(facts(f"{WIKI}/authgate/start?{'a&' * 1001}", NAVIGATION))

    assert answer.status == 302


def test_start_does_not_send_a_program_to_the_portal() -> None:
    response = endpoint("/authgate/start", WIKI, [(b"sec-fetch-mode", b"cors")])

    assert response.status_code == 401
    assert "Location" not in response


# ---- /oauth2/sign_in --------------------------------------------------------------------------------------


def sign_in_page(settings: Settings, *more: Headers) -> HttpResponse:
    settings.IKD_OAUTH2_CONTRACT = "nginx"
    headers = [
        (b"host", b"wiki.example.com"),
        (b"x-scheme", b"https"),
        (b"x-real-ip", b"192.0.2.1"),
        *NAVIGATION,
    ]
    return raw_endpoint("/oauth2/sign_in", [*headers, *(pair for group in more for pair in group)])


def test_oauth2_sign_in_redirects_and_its_page_does_too(settings: Settings) -> None:
    response = sign_in_page(settings, [(b"x-auth-request-redirect", b"/page")])

    assert state(response).uri == "/page"
    assert state(response).back == "/oauth2"
    assert b"url=/oauth2/start" in response.content
    assert response["Referrer-Policy"] == "same-origin"


def test_the_page_of_oauth2_sign_in_has_no_text_from_the_browser(settings: Settings) -> None:
    plain = sign_in_page(settings)
    crafted = sign_in_page(settings, [(b"x-auth-request-redirect", b'/"><script>alert(1)</script>')])

    assert plain.content == crafted.content


def test_the_first_answer_to_a_program_has_an_ascii_address() -> None:
    answer = ask(facts(f"{WIKI}/api", [(b"referer", f"{WIKI}/café?é".encode())]))

    assert answer.status == 401
    assert (header(answer, b"x-auth-location") or b"").endswith(
        quote(f"{WIKI}/caf%C3%A9?%C3%A9", safe="").encode()
    )
