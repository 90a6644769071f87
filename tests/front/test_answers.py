"""The front of a real server, from the raw socket."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.serving import PUBLIC, WIKI, Cast, Portal, check_bytes


@pytest.fixture
def no_pages(portal: Portal) -> Iterator[None]:
    """Stop the processes for pages."""
    for pid in portal.page_workers():
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in portal.page_workers():
        os.kill(pid, signal.SIGCONT)


def warm(portal: Portal, people: Cast) -> None:
    for cookie in ("", people.alice_cookie, people.bob_cookie):
        portal.ask(cookie)


def test_a_check_is_answered_without_page_processes(
    portal: Portal, people: Cast, request: pytest.FixtureRequest
) -> None:
    warm(portal, people)
    request.getfixturevalue("no_pages")

    with portal.connect() as connection:
        statuses = [
            connection.check(people.alice_cookie).status,
            connection.check().status,
            connection.check(people.bob_cookie).status,
            connection.check(origin=PUBLIC).status,
            connection.check(check="/authgate/traefik", Sec_Fetch_Mode="navigate").status,
            connection.check(origin="https://nobody.example.com").status,
        ]
        cold = connection.check("__Host-ikd_gate=not-known-to-memory").status
        code = f"/page?a&ikdcode={'x' * 43}"
        made_up = connection.check(path=code, check="/authgate/traefik", Sec_Fetch_Mode="navigate")
        made_up_by_alice = connection.check(
            people.alice_cookie, path=code, check="/authgate/traefik", Sec_Fetch_Mode="navigate"
        )
        connection.send(check_bytes(check="/authgate/start", Sec_Fetch_Mode="navigate"))
        is_taken = connection.says_nothing(0.5)

    assert statuses == [200, 401, 403, 200, 302, 403]
    assert cold == 401
    assert made_up.status == 302
    assert made_up.header("location").startswith("https://sso.example.com/continue?state=")
    assert (made_up_by_alice.status, made_up_by_alice.header("location")) == (302, f"{WIKI}/page?a")
    assert is_taken


UNUSUAL: dict[str, dict[str, Any]] = {
    "closing": {"Connection": "close"},
    "of HTTP/1.0": {"version": "1.0"},
    "with a body": {"method": "POST", "Content_Length": "5", "body": b"GET /"},
    "chunked": {"method": "POST", "Transfer_Encoding": "chunked", "body": b"3\r\nabc\r\n0\r\n\r\n"},
    "expecting": {"method": "PUT", "Expect": "100-continue", "Content_Length": "2", "body": b"xy"},
    "upgrading": {"Connection": "Upgrade", "Upgrade": "websocket"},
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.usefixtures("no_pages")
def test_an_unusual_check_is_answered_without_page_processes(kind: str, portal: Portal, people: Cast) -> None:
    replies = []
    for cookie in (people.alice_cookie, people.bob_cookie, ""):
        with portal.connect() as connection:
            replies.append(connection.check(cookie, **UNUSUAL[kind]))

    assert [reply.status for reply in replies] == [200, 403, 401]
    assert replies[0].header("x-auth-request-user") == "alice"


@pytest.mark.parametrize("kind", ["closing", "of HTTP/1.0"])
def test_a_connection_closes_if_the_client_asks_for_it(kind: str, portal: Portal, people: Cast) -> None:
    for cookie in (people.alice_cookie, "__Host-ikd_gate=nobody-knows-this"):
        with portal.connect() as connection:
            reply = connection.check(cookie, **UNUSUAL[kind])

            assert reply.header("connection") == "close"
            assert connection.is_closed(5)


def test_head_is_answered_without_a_body(portal: Portal, people: Cast) -> None:
    warm(portal, people)
    with portal.connect() as connection:
        head = connection.check(method="HEAD")
        get = connection.check()

    assert head.status == get.status == 401
    assert head.header("content-length") == get.header("content-length") == str(len(get.body))


def test_an_allowed_answer_names_the_user_and_nothing_else(portal: Portal, people: Cast) -> None:
    warm(portal, people)

    reply = portal.ask(people.alice_cookie)

    assert reply.body == b""
    assert dict(reply.headers) == {
        "date": reply.header("date"),
        "x-auth-request-user": "alice",
        "x-auth-request-email": "alice@example.com",
        "x-auth-request-groups": "staff",
        "x-auth-request-preferred-username": "alice",
        "content-length": "0",
    }


def test_a_cookie_or_its_digest_opens_no_other_origin(portal: Portal, people: Cast) -> None:
    token = people.alice_cookie.partition("=")[2]

    assert portal.ask(people.alice_cookie, origin="https://other.example.com").status == 403
    assert portal.ask(f"__Host-ikd_gate={hashlib.sha256(token.encode()).hexdigest()}").status == 401
    assert portal.ask(f"{people.alice_cookie}; {people.alice_cookie}").status == 401
