"""sign_out, userinfo and refused on a protected origin."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.test import Client

from accounts.models import User
from authgate.models import Application, AuditEvent, Origin, SignIn
from authgate.sign_ins import open_gate
from tests.authgate.asking import (
    NAVIGATION,
    WIKI,
    Headers,
    ask,
    begin,
    cookies_set,
    endpoint,
    facts,
    raw_endpoint,
    signed_in,
)
from tests.authgate.test_redirect_targets import EVIL
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.usefixtures("wiki")
BLOG = "https://blog.example.org"
SAME: Headers = [(b"sec-fetch-site", b"same-origin"), *NAVIGATION]
QUESTION = "https://sso.example.com/accounts/logout/"


def live() -> int:
    return SignIn.objects.filter(ended_at=None).count()


# ---- sign_out ---------------------------------------------------------------------------------------------


def test_signing_out_ends_the_sign_in_on_every_origin_and_at_the_portal(alice: User) -> None:
    ApplicationFactory(name="Blog", origins=[BLOG], who="signed_in")
    browser = Client(HTTP_HOST="sso.example.com")
    browser.force_login(alice)
    sign_in = SignIn.objects.get()
    here, there = (f"__Host-ikd_gate={open_gate(sign_in, origin)}" for origin in (WIKI, BLOG))
    assert [ask(facts(f"{origin}/", cookie=c)).status for origin, c in ((WIKI, here), (BLOG, there))] == [
        200,
        200,
    ]

    response = endpoint("/authgate/sign_out", WIKI, SAME, cookie=here)

    assert response["Location"] == "https://sso.example.com/signed-out"
    assert cookies_set(response)["__Host-ikd_gate"].startswith("; Path=/")
    assert "Max-Age=0" in cookies_set(response)["__Host-ikd_gate"]
    assert [ask(facts(f"{origin}/", cookie=c)).status for origin, c in ((WIKI, here), (BLOG, there))] == [
        401,
        401,
    ]
    assert browser.get("/", secure=True).status_code == 302


def test_signing_out_does_not_end_other_sign_ins_or_users(alice: User, bob: User) -> None:
    begin(alice), begin(bob)

    endpoint("/authgate/sign_out", WIKI, SAME, cookie=signed_in(alice))

    assert live() == 2


def test_signing_out_is_recorded(alice: User) -> None:
    endpoint("/authgate/sign_out", WIKI, SAME, cookie=signed_in(alice))

    event = AuditEvent.objects.get(kind="sign_out")
    assert (event.actor, event.address, event.reason) == ("alice", "198.51.100.7", WIKI)


FOREIGN = {
    "cross-site": [(b"sec-fetch-site", b"cross-site")],
    "same site, another origin": [(b"sec-fetch-site", b"same-site")],
    "unknown": [(b"sec-fetch-site", b"whatever")],
    "two words": [(b"sec-fetch-site", b"same-origin, cross-site")],
    "an older browser from elsewhere": [(b"referer", b"https://evil.example/")],
    "an older browser that tells nothing": [],
    "an older browser from a like name": [(b"referer", f"{WIKI}.evil.example/".encode())],
    "a prefetch": [(b"sec-fetch-site", b"same-origin"), (b"sec-purpose", b"prefetch")],
}


@pytest.mark.parametrize("hints", FOREIGN.values(), ids=FOREIGN)
def test_a_request_from_another_site_asks_before_signing_out(hints: Headers, alice: User) -> None:
    response = endpoint("/authgate/sign_out?rd=/bye", WIKI, NAVIGATION, hints, cookie=signed_in(alice))

    assert response["Location"].startswith(QUESTION)
    assert parse_qs(urlsplit(response["Location"]).query) == {"rd": [f"{WIKI}/bye"]}
    assert live() == 1


def test_a_head_request_signs_nobody_out(alice: User) -> None:
    endpoint("/authgate/sign_out", WIKI, SAME, cookie=signed_in(alice), forwarded_method="HEAD")

    assert live() == 1


MEANT = {
    "same origin": [(b"sec-fetch-site", b"same-origin")],
    "typed": [(b"sec-fetch-site", b"none")],
    "an older browser": [(b"referer", f"{WIKI}/page".encode())],
}


@pytest.mark.parametrize("hints", MEANT.values(), ids=MEANT)
def test_a_request_from_the_same_site_or_a_typed_address_signs_out_at_once(
    hints: Headers, alice: User
) -> None:
    endpoint("/authgate/sign_out", WIKI, [(b"accept", b"text/html")], hints, cookie=signed_in(alice))

    assert live() == 0


@pytest.mark.parametrize("rd", EVIL.values(), ids=EVIL)
def test_signing_out_does_not_redirect_to_foreign_sites(rd: str, alice: User) -> None:
    quoted = quote(rd, safe="", errors="surrogateescape")

    response = endpoint(f"/authgate/sign_out?rd={quoted}", WIKI, SAME, cookie=signed_in(alice))

    assert response["Location"] == "https://sso.example.com/signed-out"


@pytest.mark.parametrize(
    ("rd", "url"),
    [
        ("/bye", f"{WIKI}/bye"),
        (f"{WIKI}/bye?a=b", f"{WIKI}/bye?a=b"),
        ("https://sso.example.com/", "https://sso.example.com/"),
    ],
)
def test_signing_out_redirects_to_allowed_pages(rd: str, url: str, alice: User) -> None:
    response = endpoint(f"/authgate/sign_out?rd={quote(rd, safe='')}", WIKI, SAME, cookie=signed_in(alice))

    assert response["Location"] == url


@pytest.mark.parametrize("rd", EVIL.values(), ids=EVIL)
def test_the_question_drops_a_foreign_redirect_target(rd: str) -> None:
    quoted = quote(rd, safe="", errors="surrogateescape")

    assert endpoint(f"/authgate/sign_out?rd={quoted}", WIKI, NAVIGATION)["Location"] == QUESTION


def test_a_cookie_of_another_origin_signs_nobody_out(alice: User) -> None:
    endpoint("/authgate/sign_out", WIKI, SAME, cookie=signed_in(alice, BLOG))

    assert live() == 1


# ---- userinfo ---------------------------------------------------------------------------------------------


def test_userinfo_names_the_signed_in_user(alice: User) -> None:
    response = endpoint("/authgate/userinfo", cookie=signed_in(alice))

    assert json.loads(response.content) == {
        "user": "alice",
        "email": "alice@example.com",
        "groups": ["staff"],
        "preferredUsername": "alice",
    }
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("origin", ["", BLOG])
def test_userinfo_reveals_nothing_without_a_sign_in_on_this_origin(origin: str, alice: User) -> None:
    response = endpoint("/authgate/userinfo", cookie=signed_in(alice, origin) if origin else "")

    assert response.status_code == 401
    assert b"alice" not in response.content


def test_the_check_never_lets_userinfo_through(alice: User) -> None:
    assert ask(facts(f"{WIKI}/authgate/userinfo", cookie=signed_in(alice))).status == 404


# ---- refused ----------------------------------------------------------------------------------------------


def refused(cookie: str = "", *more: Headers, uri: str = "/page") -> tuple[int, str]:
    response = endpoint("/authgate/refused", WIKI, NAVIGATION, *more, cookie=cookie, forwarded_uri=uri)
    policy = response["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src https://sso.example.com;")
    return response.status_code, response.content.decode()


def test_the_refused_page_names_application_and_user(bob: User) -> None:
    status, page = refused(signed_in(bob), [(b"x-auth-decision", b"0123456789ab")])

    assert status == 403
    for told in (
        "Wiki",
        "bob",
        "wiki.example.com/page",
        "0123456789ab",
        "https://sso.example.com/switch-account?next=",
    ):
        assert told in page
    assert "<form" not in page
    assert "<script" not in page


def test_the_refused_page_names_no_user_to_a_visitor() -> None:
    status, page = refused()

    assert status == 403
    assert "to Wiki" not in page


@pytest.mark.parametrize(
    "given",
    [
        b"<script>alert(1)</script>",
        b"0123456789abc",
        b"0123456789AB",
        b"../../../..",
        b"0123456789a\xc2",
        b"",
    ],
)
def test_a_malformed_decision_id_is_not_shown(given: bytes, bob: User) -> None:
    _, page = refused(signed_in(bob), [(b"x-auth-decision", given)])

    assert "<dt>Decision</dt>" not in page
    assert "alert(1)" not in page


@pytest.mark.parametrize(
    "uri",
    [
        '/"><script>alert(1)</script>',
        "/<img src=x>",
        "/'\"&<>",
        "/\\x",
        "not a uri",
        "/\x00",
        "/" + "x" * 9_000,
    ],
)
def test_no_part_of_the_address_becomes_markup(uri: str, bob: User) -> None:
    status, page = refused(signed_in(bob), uri=uri)

    assert status == 403
    assert "<script>" not in page
    assert "<img src=x" not in page


def test_no_part_of_a_name_becomes_markup(bob: User) -> None:
    cookie = signed_in(bob)
    Application.objects.update(name="<script>alert(1)</script>")
    User.objects.filter(pk=bob.pk).update(username="<b>bob</b>")

    _, page = refused(cookie)

    assert "<script>" not in page
    assert "<b>" not in page


def test_the_check_refuses_the_refused_page_too(alice: User) -> None:
    assert ask(facts(f"{WIKI}/authgate/refused", NAVIGATION, cookie=signed_in(alice))).status == 403


# ---- an endpoint without a scheme header, as in configurations for oauth2-proxy ---------------------------

SECRET = "http://wiki.example.com"
BY_HOST: Headers = [
    (b"host", b"wiki.example.com"),
    (b"x-real-ip", b"198.51.100.7"),
    (b"x-forwarded-uri", b"/"),
]


@pytest.mark.parametrize("origin", [WIKI, SECRET])
def test_the_only_scheme_of_a_host_is_used(origin: str, alice: User) -> None:
    Origin.objects.filter(value=WIKI).update(value=origin)

    response = raw_endpoint("/oauth2/sign_out", [*BY_HOST, *SAME], cookie=signed_in(alice, origin))

    assert response["Location"] == "https://sso.example.com/signed-out"
    assert live() == 0


def test_https_is_used_if_a_host_has_both_schemes(alice: User) -> None:
    ApplicationFactory(name="Plain", origins=[SECRET], who="signed_in", without_https=True)
    both = "; ".join(signed_in(user, origin) for user, origin in ((alice, WIKI), (alice, SECRET)))

    response = raw_endpoint("/oauth2/sign_out", [*BY_HOST, *SAME], cookie=both)

    assert list(cookies_set(response)) == ["__Host-ikd_gate"]
    assert live() == 1


def test_an_unknown_host_is_refused_without_a_scheme_too() -> None:
    headers = [(name, b"evil.example" if name == b"host" else value) for name, value in BY_HOST]

    for name in ("start", "sign_in", "callback", "sign_out", "userinfo", "refused"):
        response = raw_endpoint(f"/oauth2/{name}", [*headers, *SAME])

        assert response.status_code == 403
        assert "Location" not in response


@pytest.mark.parametrize(
    "scheme", [[(b"x-scheme", b"")], [(b"x-scheme", b"https")] * 2, [(b"x-scheme", b"x")]]
)
def test_an_unreadable_scheme_is_not_guessed(scheme: Headers, alice: User) -> None:
    response = raw_endpoint("/oauth2/sign_out", [*BY_HOST, *scheme, *SAME], cookie=signed_in(alice))

    assert response.status_code == 400
    assert live() == 1


def test_a_check_without_a_scheme_is_refused(alice: User) -> None:
    assert raw_endpoint("/oauth2/auth", [*BY_HOST, *SAME], cookie=signed_in(alice)).status_code == 403


@pytest.mark.parametrize("wished", [True, False])
def test_userinfo_has_the_username_header_only_for_applications_that_ask_for_it(
    wished: bool, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(username="mé%bill")
    Application.objects.update(username_header=wished)

    response = endpoint("/authgate/userinfo", WIKI, SAME, cookie=signed_in(alice))

    assert response.headers.get("username") == ("m%C3%A9%25bill" if wished else None)
