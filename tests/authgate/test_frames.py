"""A visitor in a frame gets a link that opens a new tab, and nothing else to click on."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import User
from authgate.check.request import FRAMES
from tests.authgate.asking import NAVIGATION, WIKI, Headers, ask, endpoint, facts, header, signed_in

pytestmark = pytest.mark.usefixtures("wiki")
CROSS_SITE, SAME_SITE = [(b"sec-fetch-site", b"cross-site")], [(b"sec-fetch-site", b"same-site")]
LINK = re.compile(rb'<a [^>]*href="([^"]*)" target="_blank" rel="noopener"')


def framed(*more: Headers, dest: bytes = b"iframe") -> Headers:
    return [*NAVIGATION, (b"sec-fetch-dest", dest), *(pair for group in more for pair in group)]


@pytest.mark.parametrize("dest", sorted(FRAMES))
def test_a_frame_on_another_site_gets_a_link_to_the_page(dest: bytes) -> None:
    answer = ask(facts(f"{WIKI}/page?a=1&b=%22", framed(CROSS_SITE, dest=dest)))

    assert (answer.status, header(answer, b"set-cookie"), header(answer, b"location")) == (401, None, None)
    assert LINK.findall(answer.body) == [f"{WIKI}/page?a=1&amp;b=%22".encode()]
    assert answer.body.count(b"<a ") == 1 and b"<form" not in answer.body and b"<script" not in answer.body


def test_the_sign_in_endpoint_of_nginx_shows_the_same_link() -> None:
    response = endpoint("/authgate/start", WIKI, framed(CROSS_SITE), forwarded_uri="/page?a=1")

    assert response.status_code == 401
    assert LINK.findall(response.content) == [f"{WIKI}/page?a=1".encode()]
    policy = response["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src https://sso.example.com;")
    assert "frame-ancestors" not in policy and "X-Frame-Options" not in response


@pytest.mark.parametrize(
    "headers",
    [
        framed(SAME_SITE),
        [*NAVIGATION, *CROSS_SITE],
        [*NAVIGATION, *CROSS_SITE, (b"sec-fetch-dest", b"document")],
    ],
    ids=["a frame of the same site", "a link", "a link that says so"],
)
def test_all_other_navigations_are_sent_to_the_portal(headers: Headers) -> None:
    assert ask(facts(f"{WIKI}/page", headers)).status == 302
    assert endpoint("/authgate/start", WIKI, headers).status_code == 302


def test_a_signed_in_user_is_let_in_inside_a_frame(alice: User) -> None:
    assert ask(facts(f"{WIKI}/page", framed(SAME_SITE), cookie=signed_in(alice))).status == 200


def test_a_refusal_in_a_frame_has_its_decision_id(bob: User) -> None:
    cookie = signed_in(bob)

    answer = ask(facts(f"{WIKI}/page", framed(SAME_SITE), cookie=cookie))
    at_nginx = endpoint("/authgate/refused", WIKI, framed(SAME_SITE), cookie=cookie, forwarded_uri="/page")

    assert (answer.status, at_nginx.status_code) == (403, 403)
    assert len(header(answer, b"x-auth-decision") or b"") == 12
    assert LINK.findall(answer.body) == LINK.findall(at_nginx.content) == [f"{WIKI}/page".encode()]


def test_the_portal_shows_a_visitor_in_a_frame_the_link() -> None:
    begun = ask(facts(f"{WIKI}/page?a=1", framed(SAME_SITE)))
    url = (header(begun, b"location") or b"").decode().removeprefix("https://sso.example.com")

    in_a_frame = Client(HTTP_HOST="sso.example.com").get(url, secure=True, HTTP_SEC_FETCH_DEST="iframe")
    in_a_tab = Client(HTTP_HOST="sso.example.com").get(url, secure=True, HTTP_SEC_FETCH_DEST="document")

    assert (in_a_frame.status_code, in_a_tab.status_code) == (401, 302)
    assert LINK.findall(in_a_frame.content) == [f"{WIKI}/page?a=1".encode()]
    assert "X-Frame-Options" not in in_a_frame
    assert "frame-ancestors" not in in_a_frame["Content-Security-Policy"]


def test_the_portal_hands_over_a_sign_in_inside_a_frame(alice: User) -> None:
    begun = ask(facts(f"{WIKI}/page", framed(SAME_SITE)))
    client = Client(HTTP_HOST="sso.example.com")
    client.force_login(alice)

    url = (header(begun, b"location") or b"").decode().removeprefix("https://sso.example.com")
    response = client.get(url, secure=True, HTTP_SEC_FETCH_DEST="iframe")

    assert response["Location"].startswith(f"{WIKI}/page?ikdcode=")


@pytest.mark.parametrize("path", ["/accounts/login/", "/", "/continue?state=forged", "/second-factor/"])
def test_no_other_page_of_the_portal_can_be_framed(path: str, db: None) -> None:
    client = Client(HTTP_HOST="sso.example.com")
    response = client.get(path, secure=True, HTTP_SEC_FETCH_DEST="iframe", follow=False)

    assert response["X-Frame-Options"] == "DENY"


def test_a_query_that_is_too_long_for_the_link_is_omitted() -> None:
    answer = ask(facts(f"{WIKI}/page?{'a=%22&' * 1500}", framed(CROSS_SITE)))

    assert LINK.findall(answer.body) == [f"{WIKI}/".encode()]
    assert len(answer.body) < 16_384
