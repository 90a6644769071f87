"""Single logout: a CAS server reports that the sign-in with a ticket has ended."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.cas.flow import cache_key, digest
from accounts.upstreams.cas.single_logout import LARGEST_LOGOUT
from accounts.upstreams.logout_requests import mark_key
from authgate.cookies import cookie_name
from authgate.models import AuditEvent, SignIn
from authgate.sign_ins import open_gate, revokes_access
from tests.accounts.signing_in import is_signed_in
from tests.authgate.asking import WIKI, ask, facts
from tests.factories import ApplicationFactory, UpstreamFactory
from tests.upstreams.cas_server import LOGIN, CasServer, logout_request, path_of, redirect_from_portal

FORM = "application/x-www-form-urlencoded"


def send_logout(server_side: Client, body: str, path: str = LOGIN, content_type: str = FORM) -> Any:
    """Send a POST as a CAS server does, without cookie or CSRF token."""
    return server_side.post(path, body, content_type=content_type)


def form(ticket: str) -> str:
    return urlencode({"logoutRequest": logout_request(ticket)})


@pytest.fixture
def server_side() -> Client:
    return Client(HTTP_HOST="sso.example.com", enforce_csrf_checks=True)


@pytest.fixture
def ticket(client: Client, server: CasServer, campus: Upstream) -> str:
    """The ticket with which the client's browser signed in."""
    back, ticket = server.issue(redirect_from_portal(client), "alice-there")
    assert client.get(path_of(back)).status_code == 302
    return ticket


def test_a_logout_ends_the_sign_in_and_its_sessions(client: Client, server_side: Client, ticket: str) -> None:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    sign_in = SignIn.objects.get()
    cookie = f"{cookie_name(WIKI, 'gate')}={open_gate(sign_in, WIKI)}"
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 200

    assert send_logout(server_side, form(ticket)).status_code == 200

    assert not is_signed_in(client)
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 401
    event = AuditEvent.objects.get(kind="sign_out")
    assert (event.subject, event.reason) == ("alice-there", "single logout by the provider")
    assert ticket not in str(vars(event))


def test_a_logout_may_name_the_server_in_its_address(
    client: Client, server_side: Client, ticket: str
) -> None:
    """By default, servers post to the service address, which names the server of the ticket."""
    UpstreamFactory(kind="cas", slug="library")

    send_logout(server_side, form(ticket), path=f"{LOGIN}?upstream=library&state=x")
    assert is_signed_in(client)

    send_logout(server_side, form(ticket), path=f"{LOGIN}?upstream=campus&state=x")
    assert not is_signed_in(client)


def test_a_name_that_postgresql_refuses_causes_no_error(
    client: Client, server_side: Client, ticket: str
) -> None:
    assert send_logout(server_side, form(ticket), path=f"{LOGIN}?upstream=a%00b").status_code == 200
    assert is_signed_in(client)


BODIES = {
    "nothing": "",
    "another ticket": form("ST-1-" + "a" * 32),
    "the digest": "DIGEST",
    "the user's name": urlencode({"logoutRequest": logout_request("alice-there")}),
    "no XML": "logoutRequest=x",
    "another parameter": "logout=x",
    "broken form": "logoutRequest=%ff%fe&&&=%",
    "many fields": "&".join(f"a{number}=1" for number in range(50)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_without_the_ticket_nothing_ends_and_no_event_is_written(
    client: Client, server_side: Client, ticket: str, body: str
) -> None:
    kept = UpstreamSession.objects.get().ticket_digest
    events = AuditEvent.objects.count()

    answer = send_logout(server_side, form(kept) if body == "DIGEST" else body)

    assert (answer.status_code, answer.content) == (200, b"")
    assert is_signed_in(client)
    assert AuditEvent.objects.count() == events


def test_the_answer_is_the_same_for_a_ticket_and_for_none(server_side: Client, ticket: str) -> None:
    none, some = send_logout(server_side, form("ST-2")), send_logout(server_side, form(ticket))

    assert (some.status_code, some.content, some.headers) == (none.status_code, none.content, none.headers)


def test_a_large_request_is_not_read(client: Client, server_side: Client, ticket: str) -> None:
    padded = urlencode({"logoutRequest": logout_request(ticket) + " " * LARGEST_LOGOUT})

    assert send_logout(server_side, padded).status_code == 200
    assert is_signed_in(client)


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "text/xml", "application/json"])
def test_only_a_form_is_read(client: Client, server_side: Client, ticket: str, content_type: str) -> None:
    assert send_logout(server_side, form(ticket), content_type=content_type).status_code == 200
    assert is_signed_in(client)


def test_a_link_ends_nothing(client: Client, server_side: Client, ticket: str) -> None:
    server_side.get(f"{LOGIN}?{form(ticket)}")

    assert is_signed_in(client)


def test_a_logout_ends_only_the_sign_in_of_its_ticket(
    client: Client, other_browser: Client, server_side: Client, server: CasServer, ticket: str
) -> None:
    back, _ = server.issue(redirect_from_portal(other_browser), "alice-there")
    other_browser.get(path_of(back))

    send_logout(server_side, form(ticket))

    assert (is_signed_in(client), is_signed_in(other_browser)) == (False, True)


def test_only_a_request_that_ends_something_waits_for_the_workers(server_side: Client, ticket: str) -> None:
    """Otherwise, strangers could keep all threads waiting."""
    send_logout(server_side, form("ST-2"))
    assert not revokes_access()

    send_logout(server_side, form(ticket))
    assert revokes_access()

    send_logout(server_side, form(ticket))
    assert not revokes_access()
    assert AuditEvent.objects.filter(kind="sign_out").count() == 1


def test_without_a_database_the_server_gets_an_error(server_side: Client, ticket: str) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("away")

    with connection.execute_wrapper(away):
        answer = send_logout(server_side, form(ticket))

    assert (answer.status_code, answer.content) == (503, b"")


@pytest.mark.django_db(transaction=True)
def test_an_unfinished_sign_in_ends_too(
    client: Client, server_side: Client, server: CasServer, campus: Upstream
) -> None:
    """The ticket was accepted, and the user must still confirm a second factor."""
    back, ticket = server.issue(redirect_from_portal(client), "alice-there")
    client.get(path_of(back))
    kept = UpstreamSession.objects.values().get()
    UpstreamSession.objects.all().delete()
    SignIn.objects.update(ended_at=None)

    send_logout(server_side, form(ticket))
    UpstreamSession.objects.create(**kept)

    assert SignIn.objects.get().ended_at is not None


def test_unused_tickets_are_not_remembered(server_side: Client, campus: Upstream) -> None:
    send_logout(server_side, form("ST-invented"))

    assert cache.get(cache_key(campus.pk, digest("ST-invented"))) is None
    assert cache.get(mark_key(campus.pk, "ticket", digest("ST-invented"))) is None
