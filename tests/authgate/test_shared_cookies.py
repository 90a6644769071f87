"""One gate cookie for each configured shared domain, and for all other origins one each."""

from __future__ import annotations

from html import unescape
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from authgate.checks import check_settings
from authgate.cookies import place_of
from authgate.models import GateSession, Rule, SignIn
from authgate.sign_ins import end_sign_ins, open_gate
from tests.authgate.asking import NAVIGATION, ask, begin, cookies_set, endpoint, facts
from tests.authgate.browser import Browser
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.django_db
APP, OTHER, ELSEWHERE = (
    "https://app.example.com",
    "https://other.example.com:8443",
    "https://wiki.example.org",
)
SHARED = "__Secure-ikd_shared"


@pytest.fixture(autouse=True)
def applications(settings: Settings) -> None:
    settings.IKD_SHARED_COOKIE_DOMAINS = ["example.com"]
    for name, origin in (("App", APP), ("Other", OTHER), ("Elsewhere", ELSEWHERE)):
        ApplicationFactory(name=name, origins=[origin], who=Rule.Who.SIGNED_IN)
    ApplicationFactory(name="Ops", origins=["https://ops.example.com"], groups=["nobody"])


@pytest.fixture
def token(alice: User) -> str:
    return open_gate(begin(alice), ".example.com")


def status(origin: str, cookie: str) -> int:
    return ask(facts(f"{origin}/", cookie=cookie, check="/authgate/nginx")).status


@pytest.fixture
def at_the_portal(alice: User) -> Client:
    client = Client(HTTP_HOST="sso.example.com")
    client.force_login(alice)
    return client


def enter(client: Client, page: str, **more: str) -> HttpResponse:
    response = client.get(f"/enter?rd={quote(page, safe=':/')}", secure=True, **more)
    assert isinstance(response, HttpResponse)
    return response


def test_a_long_page_is_opened_byte_for_byte_and_fits_into_each_header(alice: User) -> None:
    page = f"{APP}/page?{'q=%2Flong+page&x=&' * 400}"
    client = Client(HTTP_HOST="sso.example.com")

    to_sign_in = client.get(f"/enter?rd={quote(page, safe='')}", secure=True)
    client.force_login(alice)
    then = parse_qs(urlsplit(to_sign_in["Location"]).query)["next"][0]
    answer = client.get(then, secure=True)

    for response in (to_sign_in, answer):
        assert sum(len(name) + len(value) + 4 for name, value in response.items()) <= 4096
    link = answer.content.decode().partition('href="https://app')[2].partition('"')[0]
    assert unescape(f"https://app{link}") == page
    assert SHARED in answer.cookies


@pytest.mark.parametrize("kept", ["", "x", "a:b:c", "é"])
def test_a_forged_page_is_not_opened(at_the_portal: Client, kept: str) -> None:
    assert at_the_portal.get("/enter", {"kept": kept}, secure=True).status_code == 400


# ---- what a cookie opens ----------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [APP, OTHER])
def test_one_cookie_opens_every_origin_of_its_domain(origin: str, token: str) -> None:
    assert status(origin, f"{SHARED}={token}") == 200


@pytest.mark.parametrize("name", [SHARED, "__Host-ikd_gate"])
def test_the_cookie_opens_no_origin_of_another_domain(name: str, token: str) -> None:
    assert status(ELSEWHERE, f"{name}={token}") == 401


def test_the_shared_token_gives_no_access_under_the_name_of_an_origins_cookie(token: str) -> None:
    assert status(APP, f"__Host-ikd_gate={token}") == 401


@pytest.mark.parametrize("opened_on", [APP, OTHER, ELSEWHERE, ".example.org"])
def test_the_token_of_one_origin_gives_no_access_under_the_shared_name(opened_on: str, alice: User) -> None:
    assert status(APP, f"{SHARED}={open_gate(begin(alice), opened_on)}") == 401


def test_the_cookie_gives_no_access_once_the_domain_is_removed(token: str, settings: Settings) -> None:
    settings.IKD_SHARED_COOKIE_DOMAINS = []

    assert [status(APP, f"{name}={token}") for name in (SHARED, "__Host-ikd_gate")] == [401, 401]


def test_a_second_cookie_set_by_a_subdomain_gives_no_access(token: str) -> None:
    assert status(APP, f"{SHARED}={token}; {SHARED}=planted") == 401


def test_the_cookie_ends_with_the_sign_in(token: str) -> None:
    end_sign_ins(SignIn.objects.all())

    assert status(APP, f"{SHARED}={token}") == 401


def test_each_origin_still_applies_its_own_rules(token: str) -> None:
    assert status("https://ops.example.com", f"{SHARED}={token}") == 403


def test_the_cookie_is_not_a_session_of_the_portal(token: str) -> None:
    response = Client(HTTP_HOST="sso.example.com").get(
        "/", secure=True, HTTP_COOKIE=f"{SHARED}={token}; __Host-ikd_portal={token}"
    )

    assert (response.status_code, response["Location"].partition("?")[0]) == (302, "/accounts/login/")


@pytest.mark.parametrize(
    ("origin", "place"),
    {
        "below": ("https://a.b.example.com", ".example.com"),
        "with a port": ("https://a.example.com:8443", ".example.com"),
        "the domain itself": ("https://example.com", ".example.com"),
        "without https": ("http://a.example.com", "http://a.example.com"),
        "a near name": ("https://notexample.com", "https://notexample.com"),
        "as somebody's label": ("https://example.com.evil.org", "https://example.com.evil.org"),
        "an address": ("https://[::1]:8443", "https://[::1]:8443"),
    }.values(),
    ids=lambda value: value,
)
def test_each_origin_is_matched_with_its_shared_domain(origin: str, place: str) -> None:
    assert place_of(origin, ("example.com", "apps.example.org")) == place


# ---- by a code, at an origin that has a route to the portal ------------------------------------------------


@pytest.mark.parametrize("style", ["redirect", "status"])
def test_using_a_code_sets_the_shared_cookie(style: str, alice: User) -> None:
    browser = Browser(style=style)
    browser.sign_in(alice)

    assert browser.follow(f"{APP}/page").status_code == 200

    [session] = GateSession.objects.all()
    assert session.origin == ".example.com"
    assert SHARED in browser.jars[APP] and "__Host-ikd_gate" not in browser.jars[APP]


def test_a_code_is_still_bound_to_the_origin_that_it_was_issued_for(alice: User) -> None:
    browser = Browser()
    browser.sign_in(alice)
    code = browser.code_url(f"{APP}/page").removeprefix(APP)

    browser.ask(f"{OTHER}{code}")

    assert not GateSession.objects.exists()


def test_signing_out_deletes_the_cookie_of_the_domain(token: str) -> None:
    own = [(b"sec-fetch-site", b"same-origin"), *NAVIGATION]

    response = endpoint("/authgate/sign_out", APP, own, cookie=f"{SHARED}={token}")

    assert cookies_set(response)[SHARED].startswith("; Path=/")
    assert "Domain=example.com" in response["Set-Cookie"] and "Max-Age=0" in response["Set-Cookie"]
    assert status(OTHER, f"{SHARED}={token}") == 401


# ---- at the portal, for origins without a route to it -----------------------------------------------------


def test_the_portal_sets_the_cookie_and_redirects_back(at_the_portal: Client) -> None:
    response = enter(at_the_portal, f"{APP}/x%20y?a=1&b=%23&ikdcode={'A' * 43}")

    cookie = response.cookies[SHARED]
    assert response["Location"] == f"{APP}/x%20y?a=1&b=%23"
    assert (cookie["domain"], cookie["secure"], cookie["httponly"], cookie["samesite"]) == (
        "example.com",
        True,
        True,
        "Lax",
    )
    assert status(APP, f"{SHARED}={cookie.value}") == 200


def test_a_visitor_is_asked_to_sign_in(db: None) -> None:
    response = enter(Client(HTTP_HOST="sso.example.com"), f"{APP}/")

    assert response["Location"].startswith("/accounts/login/?next=%2Fenter")
    assert SHARED not in response.cookies


def test_a_user_without_access_gets_no_cookie(at_the_portal: Client) -> None:
    response = enter(at_the_portal, "https://ops.example.com/")

    assert (response.status_code, SHARED in response.cookies) == (403, False)


@pytest.mark.parametrize(
    "page",
    [
        "https://evil.example/",
        "https://app.example.com.evil.example/",
        "//evil.example/",
        "https://app.example.com\\@evil.example/",
        "javascript:alert(1)",
        "https://nobodys.example.com/",
        "",
    ],
)
def test_a_foreign_redirect_target_is_a_bad_request(at_the_portal: Client, page: str) -> None:
    response = enter(at_the_portal, page)

    assert (response.status_code, SHARED in response.cookies) == (400, False)


def test_an_origin_outside_the_domain_starts_its_own_sign_in(at_the_portal: Client) -> None:
    response = enter(at_the_portal, f"{ELSEWHERE}/page")

    assert response["Location"].startswith(f"{ELSEWHERE}/authgate/start?rd=")
    assert SHARED not in response.cookies


def test_a_second_page_uses_the_same_session(at_the_portal: Client) -> None:
    enter(at_the_portal, f"{APP}/")

    response = enter(at_the_portal, f"{OTHER}/")

    assert SHARED not in response.cookies
    assert GateSession.objects.count() == 1


def test_a_head_request_opens_no_session(at_the_portal: Client) -> None:
    at_the_portal.head(f"/enter?rd={APP}/", secure=True)

    assert not GateSession.objects.exists()


def test_a_browser_that_loses_the_cookie_gets_an_error_and_no_redirect_loop(at_the_portal: Client) -> None:
    """The same applies to a browser with a second cookie of that name, set by another site of the domain."""
    statuses = []
    for _ in range(10):
        statuses.append(enter(at_the_portal, f"{APP}/").status_code)
        at_the_portal.cookies.pop(SHARED, None)

    assert statuses == [302] * 8 + [400] * 2


@pytest.mark.parametrize("planted", ["-1", "²", "9", "1e9", " 1"])
def test_a_planted_counter_cookie_causes_no_error(at_the_portal: Client, planted: str) -> None:
    at_the_portal.cookies["__Host-ikd_entries"] = planted

    assert enter(at_the_portal, f"{APP}/").status_code == 302


# ---- the setting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "domains",
    [
        ["com"],
        ["co.uk"],
        ["github.io"],
        ["localhost"],
        ["app.localhost"],
        ["192.0.2.7"],
        ["[::1]"],
        [".example.com"],
        ["*.example.com"],
        ["https://example.com"],
        ["example.com:8443"],
        ["example.com; Path=/"],
        ["example.com", "apps.example.com"],
        ["example.com", "example.com"],
        [""],
    ],
    ids=" ".join,
)
def test_an_invalid_shared_domain_is_refused(domains: list[str], settings: Settings, token: str) -> None:
    settings.IKD_SHARED_COOKIE_DOMAINS = domains

    assert [message.id for message in check_settings()] == ["authgate.E004"]
    response = endpoint("/authgate/userinfo", APP, cookie=f"{SHARED}={token}")
    assert response.status_code == 503


def test_without_the_setting_nothing_is_shared(settings: Settings, alice: User) -> None:
    settings.IKD_SHARED_COOKIE_DOMAINS = []
    browser = Browser()
    browser.sign_in(alice)

    browser.follow(f"{APP}/")

    assert "__Host-ikd_gate" in browser.jars[APP]
    assert GateSession.objects.get().origin == APP
