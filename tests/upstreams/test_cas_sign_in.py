"""Signing in with a CAS server: from /auth/ssologin and back to it with a ticket."""

from __future__ import annotations

import contextlib
import json
import re
import time
from html import unescape
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import GroupMapping, Identity, Upstream, UpstreamSession, User
from accounts.upstreams import http_client
from accounts.upstreams.cas.flow import examine_cas
from accounts.upstreams.findings import Level
from authgate.check.responses import LONGEST_LOCATION
from authgate.models import AuditEvent, SignIn
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import GroupFactory, UpstreamFactory
from tests.upstreams.cas_server import (
    LOGIN,
    CasServer,
    asked_in,
    cas,
    path_of,
    redirect_from_portal,
    send,
    sign_in_with_cas,
    succeeded,
)
from tests.upstreams.signing_in import reason

PORTAL = "https://sso.example.com"


@pytest.mark.usefixtures("campus")
def test_a_sign_in_leads_to_the_server_and_back_to_the_first_page(client: Client, server: CasServer) -> None:
    location = redirect_from_portal(client)
    assert location.startswith(f"{server.url}/login?service=https%3A%2F%2Fsso.example.com%2Fauth%2Fssologin")

    back, ticket = server.issue(location, "alice-there")
    arrived = client.get(path_of(back))

    assert (arrived.status_code, arrived["Location"]) == (302, "/")
    assert is_signed_in(client)
    assert server.asked == [
        ("/cas/p3/serviceValidate", {"service": asked_in(location)["service"], "ticket": ticket})
    ]


def test_the_first_sign_in_creates_an_account_with_the_servers_name(
    client: Client, server: CasServer, campus: Upstream
) -> None:
    sign_in_with_cas(client, server, "alice-there", email=["other@example.com"], name=["Alice There"])

    identity = Identity.objects.get()
    assert (identity.upstream, identity.subject) == (campus, "alice-there")
    assert (identity.user.username, identity.user.display_name) == ("alice-there", "Alice There")
    assert SignIn.objects.get().methods == ["upstream"]


@pytest.mark.usefixtures("campus")
def test_an_account_of_the_same_name_is_not_taken_over(
    client: Client, server: CasServer, carol: User
) -> None:
    sign_in_with_cas(client, server, "carol")

    arrived = SignIn.objects.get().user
    assert arrived != carol
    assert not arrived.is_superuser


@pytest.mark.usefixtures("campus")
def test_attributes_set_no_field_that_no_mapping_names(client: Client, server: CasServer) -> None:
    sign_in_with_cas(client, server, "eve", is_superuser=["True"], is_staff=["True"], groups=["staff"])

    eve = User.objects.get(username="eve")
    assert (eve.is_superuser, eve.is_staff, eve.groups.count()) == (False, False, 0)


@pytest.mark.parametrize("values", [["staff"], ["other", "staff"]], ids=["one value", "several"])
def test_an_attribute_puts_people_into_a_group(
    client: Client, server: CasServer, campus: Upstream, values: list[str]
) -> None:
    group = GroupFactory(name="people")
    GroupMapping.objects.create(upstream=campus, claim="memberOf", value="staff", group=group)

    sign_in_with_cas(client, server, memberOf=values)

    assert list(User.objects.get().groups.all()) == [group]


ADDRESSES: dict[str, tuple[dict[str, list[str]], str]] = {
    "of a trusted domain": ({"email": ["alice@example.com"]}, "alice@example.com"),
    "of another domain": ({"email": ["alice@example.net"]}, ""),
    "two": ({"email": ["alice@example.com", "carol@example.com"]}, ""),
    "said not to be verified": ({"email": ["alice@example.com"], "email_verified": ["false"]}, ""),
}


@pytest.mark.usefixtures("campus")
@pytest.mark.parametrize(("attributes", "taken"), ADDRESSES.values(), ids=ADDRESSES)
def test_only_a_single_address_of_a_trusted_domain_is_stored(
    client: Client, server: CasServer, attributes: dict[str, list[str]], taken: str
) -> None:
    sign_in_with_cas(client, server, **attributes)

    assert User.objects.get().email == taken


def test_a_disabled_user_is_refused(client: Client, server: CasServer, campus: Upstream, dave: User) -> None:
    Identity.objects.create(upstream=campus, subject="dave-there", user=dave)

    refused = sign_in_with_cas(client, server, "dave-there")

    assert (refused.status_code, reason()) == (403, "the user is disabled")
    assert not is_signed_in(client)


def test_cas_2_has_its_own_validation_address(client: Client, server: CasServer, campus: Upstream) -> None:
    Upstream.objects.update(cas_version=Upstream.CasVersion.TWO)

    sign_in_with_cas(client, server)

    assert [path for path, _ in server.asked] == ["/cas/serviceValidate"]
    assert is_signed_in(client)


# ---- where people are sent --------------------------------------------------------------------------------

NEXT = {
    "a page of the portal": ("/accounts/password/change/", f"{PORTAL}/accounts/password/change/"),
    "another site": ("https://evil.example/", "/"),
    "another site, short": ("//evil.example/", "/"),
    "another site, backslash": ("/\\evil.example/", "/"),
    "a script": ("javascript:alert(1)", "/"),
}


@pytest.mark.usefixtures("campus")
@pytest.mark.parametrize(("wanted", "reached"), NEXT.values(), ids=NEXT)
def test_the_page_after_a_sign_in_is_never_on_another_site(
    client: Client, server: CasServer, wanted: str, reached: str
) -> None:
    back, _ = server.issue(redirect_from_portal(client, next=wanted), "alice-there")

    assert client.get(path_of(back))["Location"] == reached


@pytest.mark.usefixtures("campus")
@pytest.mark.parametrize("length", [1400, 4000])
def test_a_long_page_fits_into_a_proxys_buffer_and_is_reached(
    client: Client, server: CasServer, length: int
) -> None:
    wanted = f"/search?q={'%41b' * (length // 4)}"
    left = client.get(LOGIN, {"next": wanted})
    assert len(left["Location"]) <= LONGEST_LOCATION

    back, _ = server.issue(left["Location"], "alice-there")
    answer = client.get(path_of(back))

    assert sum(len(name) + len(value) + 4 for name, value in answer.items()) <= 4096
    link = re.search(r'href="([^"]*)" data-onward', answer.content.decode())
    assert (unescape(link[1]) if link else answer["Location"]) == PORTAL + wanted


@pytest.mark.usefixtures("campus")
def test_a_signed_in_user_is_redirected_at_once(client: Client, server: CasServer) -> None:
    sign_in_with_cas(client, server)

    assert redirect_from_portal(client, next="https://evil.example/") == "/"


@pytest.mark.usefixtures("db")
def test_without_a_cas_server_the_sign_in_page_is_shown(client: Client) -> None:
    assert (
        redirect_from_portal(client, next="/x") == "/accounts/login/?next=https%3A%2F%2Fsso.example.com%2Fx"
    )


@pytest.mark.usefixtures("campus")
def test_the_named_or_default_server_of_several_is_used(client: Client, server: CasServer) -> None:
    UpstreamFactory(kind="cas", slug="library", server_url="https://cas.library.example")
    assert redirect_from_portal(client) == "/accounts/login/"
    assert redirect_from_portal(client, upstream="library").startswith("https://cas.library.example/login?")

    Upstream.objects.filter(slug="campus").update(is_default=True)
    assert redirect_from_portal(client).startswith(f"{server.url}/login?")


# ---- what is refused --------------------------------------------------------------------------------------


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.05)


def redirect(handler: BaseHTTPRequestHandler) -> None:
    send(handler, 302, {"Location": "/cas/serviceValidate?ticket=x"}, b"")


ALICE = "<cas:user>alice-there</cas:user>"
BOMB = b"<!DOCTYPE x [<!ENTITY a 'alice'>]>" + succeeded("<cas:user>&a;</cas:user>")
HOSTILE: dict[str, tuple[Any, int, str]] = {
    "wrong namespace": (
        (200, {}, succeeded(ALICE).replace(b"yale.edu", b"evil.example")),
        502,
        "the provider's answer is no CAS answer",
    ),
    "HTML": (
        (200, {}, b"<html><body>Sign in<br></body></html>"),
        502,
        "the provider's answer is no CAS answer",
    ),
    "entities": ((200, {}, BOMB), 502, "the provider's answer is no CAS answer"),
    "a proxied ticket": (
        (200, {}, succeeded(f"{ALICE}<cas:proxies><cas:proxy>https://x</cas:proxy></cas:proxies>")),
        403,
        "the ticket came by a proxy, which is not accepted",
    ),
    "refused": (
        (200, {}, cas("<cas:authenticationFailure code='INVALID_TICKET_SPEC'/>")),
        400,
        "the provider refused the ticket (INVALID_TICKET_SPEC)",
    ),
    "10 MB": (
        (200, {}, succeeded(ALICE) + b" " * 10_000_000),
        502,
        "the provider's answer is larger than any honest one",
    ),
    "status 500": ((500, {}, succeeded(ALICE)), 503, "the ticket's validation was answered with status 500"),
    "status 404": ((404, {}, succeeded(ALICE)), 502, "the ticket's validation was answered with status 404"),
    "a redirect": (redirect, 502, "the ticket's validation was answered with status 302"),
    "hung up": (hang_up, 503, "the provider cannot be reached"),
    "a slow drip": (drip, 503, "the provider did not answer in time"),
}


@pytest.mark.usefixtures("campus")
@pytest.mark.parametrize(("answer", "status", "why"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_causes_a_page_and_an_event(
    client: Client, server: CasServer, monkeypatch: pytest.MonkeyPatch, answer: Any, status: int, why: str
) -> None:
    monkeypatch.setattr(http_client, "ANSWER_WITHIN", 1.0)
    server.answer = answer

    page = sign_in_with_cas(client, server)

    assert (page.status_code, reason()) == (status, why)
    assert "Reference: " in page.content.decode() and "Try again" in page.content.decode()
    assert len(server.asked) == 1
    assert not is_signed_in(client)
    assert not Identity.objects.exists()


def test_a_server_that_is_down_causes_a_page(client: Client, server: CasServer, campus: Upstream) -> None:
    back, _ = server.issue(redirect_from_portal(client), "alice-there")
    Upstream.objects.update(server_url="http://127.0.0.1:9")

    assert client.get(path_of(back)).status_code == 503


@pytest.mark.usefixtures("campus")
def test_the_page_of_a_failure_does_not_redirect_and_shows_no_ticket(
    client: Client, server: CasServer
) -> None:
    server.answer = (500, {}, b"")
    back, ticket = server.issue(
        redirect_from_portal(client, next="/accounts/password/change/"), "alice-there"
    )

    page = client.get(path_of(back)).content.decode()
    again = client.get(unescape(re.findall('href="(/upstreams/campus/start[^"]*)"', page)[0]))

    server.answer = None
    back, _ = server.issue(again["Location"], "alice-there")
    assert client.get(path_of(back))["Location"] == "https://sso.example.com/accounts/password/change/"
    assert ticket not in page
    events = json.dumps(list(AuditEvent.objects.values()), default=str)
    assert ticket not in events


@pytest.mark.usefixtures("campus")
def test_a_ticket_is_accepted_once_and_not_sent_to_the_server_again(
    client: Client, other_browser: Client, server: CasServer
) -> None:
    """The second browser has its own attempt, and the server would accept the ticket again."""
    back, ticket = server.issue(redirect_from_portal(client), "alice-there")
    client.get(path_of(back))
    service = asked_in(redirect_from_portal(other_browser))["service"]
    server.tickets[ticket] = service, "alice-there", {}

    replayed = other_browser.get(path_of(f"{service}&ticket={ticket}"))

    assert (replayed.status_code, reason()) == (400, "the ticket was used already")
    assert len(server.asked) == 1


@pytest.mark.usefixtures("campus")
def test_a_ticket_of_a_failed_sign_in_is_used_up_too(
    client: Client, other_browser: Client, server: CasServer
) -> None:
    server.answer = (500, {}, b"")
    back, ticket = server.issue(redirect_from_portal(client), "alice-there")
    client.get(path_of(back))
    service = asked_in(redirect_from_portal(other_browser))["service"]

    assert other_browser.get(path_of(f"{service}&ticket={ticket}")).status_code == 400
    assert len(server.asked) == 1


@pytest.mark.usefixtures("campus")
def test_a_used_ticket_is_refused_even_if_the_cache_was_emptied(
    client: Client, other_browser: Client, server: CasServer
) -> None:
    back, ticket = server.issue(redirect_from_portal(client), "alice-there")
    client.get(path_of(back))
    cache.clear()
    service = asked_in(redirect_from_portal(other_browser))["service"]

    assert other_browser.get(path_of(f"{service}&ticket={ticket}")).status_code == 400
    assert len(server.asked) == 1


@pytest.mark.usefixtures("campus")
def test_the_same_answer_signs_in_once(client: Client, server: CasServer) -> None:
    back, _ = server.issue(redirect_from_portal(client), "alice-there")
    client.get(path_of(back))
    client.post("/accounts/logout/")

    assert client.get(path_of(back)).status_code == 400
    assert not is_signed_in(client)


@pytest.mark.usefixtures("campus")
def test_the_answer_for_another_browser_is_refused(
    client: Client, other_browser: Client, server: CasServer
) -> None:
    """Otherwise, an attacker could sign a victim in as the attacker."""
    back, _ = server.issue(redirect_from_portal(other_browser), "eve")

    assert client.get(path_of(back)).status_code == 400
    assert server.asked == []


@pytest.mark.usefixtures("campus")
@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.partition("&ticket=")[0],
        lambda url: url.replace("ticket=ST-", "ticket=PT-"),
        lambda url: f"{url}%0A",
        lambda url: f"{url}&ticket=ST-2",
        lambda url: f"{url}&upstream=campus",
        lambda url: url.replace("state=", "state=x"),
        lambda url: url.replace("state=", "was="),
    ],
    ids=["no ticket", "a proxy's", "odd bytes", "two tickets", "two upstreams", "other state", "no state"],
)
def test_a_changed_answer_is_refused_without_asking_the_server(
    client: Client, server: CasServer, change: Any
) -> None:
    back, _ = server.issue(redirect_from_portal(client), "alice-there")

    refused = client.get(path_of(change(back)))

    assert refused.status_code in (400, 403, 502)
    assert server.asked == []
    assert not is_signed_in(client)


@pytest.mark.usefixtures("campus")
def test_a_state_of_one_server_is_refused_for_another(client: Client, server: CasServer) -> None:
    UpstreamFactory(kind="cas", slug="library", server_url=server.url, allow_private=True)
    back, _ = server.issue(redirect_from_portal(client, upstream="campus"), "alice-there")

    moved = client.get(path_of(back.replace("upstream=campus", "upstream=library")))

    assert moved.status_code == 400
    assert server.asked == []


def test_several_tabs_sign_in_independently(client: Client, server: CasServer, campus: Upstream) -> None:
    first, _ = server.issue(redirect_from_portal(client, next="/x1"), "alice-there")
    second, _ = server.issue(redirect_from_portal(client, next="/x2"), "alice-there")

    assert client.get(path_of(second))["Location"] == f"{PORTAL}/x2"
    assert client.get(path_of(first))["Location"] == f"{PORTAL}/x1"


def test_a_disabled_server_cannot_sign_users_in(client: Client, server: CasServer, campus: Upstream) -> None:
    back, _ = server.issue(redirect_from_portal(client), "alice-there")
    Upstream.objects.update(enabled=False)

    assert client.get(path_of(back)).status_code == 404
    assert server.asked == []


def test_a_server_inside_the_network_is_asked_only_if_allowed(
    client: Client, server: CasServer, campus: Upstream
) -> None:
    back, _ = server.issue(redirect_from_portal(client), "alice-there")
    Upstream.objects.update(allow_private=False)

    assert client.get(path_of(back)).status_code == 502
    assert server.asked == []


# ---- testing a server -------------------------------------------------------------------------------------


def test_a_good_server_passes_the_test(server: CasServer, campus: Upstream) -> None:
    assert {finding.level for finding in examine_cas(campus)} == {Level.GOOD}


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"<html></html>"),
        (500, {}, b""),
        (200, {}, cas("<cas:authenticationFailure code='INVALID_SERVICE'/>")),
        (200, {}, succeeded(ALICE)),
    ],
    ids=["HTML", "status 500", "service not known", "takes any ticket"],
)
def test_a_bad_server_fails_the_test(server: CasServer, campus: Upstream, answer: Any) -> None:
    server.answer = answer

    assert Level.WRONG in {finding.level for finding in examine_cas(campus)}


def test_the_database_stores_only_a_digest_of_the_ticket(
    client: Client, server: CasServer, campus: Upstream
) -> None:
    back, ticket = server.issue(redirect_from_portal(client), "alice-there")
    client.get(path_of(back))

    kept = UpstreamSession.objects.get()

    assert len(kept.ticket_digest) == 64
    assert ticket not in str(vars(kept))
    assert client.get(LOGIN).status_code == 302


# ---- users who are already signed in ----------------------------------------------------------------------


def test_a_signed_in_user_links_a_server(
    client: Client, server: CasServer, campus: Upstream, alice: User
) -> None:
    sign_in(client, "alice")
    left = client.post("/accounts/providers/link/campus/")
    back, _ = server.issue(left["Location"], "alice-there")

    client.get(path_of(back))

    identity = Identity.objects.get()
    assert (identity.subject, identity.user) == ("alice-there", alice)
    assert User.objects.count() == 1


@pytest.mark.usefixtures("campus")
def test_to_confirm_their_identity_a_user_signs_in_at_the_server_again(
    client: Client, server: CasServer
) -> None:
    """Without `renew`, the server would confirm any person at a browser that is signed in there."""
    sign_in_with_cas(client, server)
    left = client.post("/accounts/providers/confirm/", {"upstream": "campus"})
    back, _ = server.issue(left["Location"], "alice-there")

    arrived = client.get(path_of(back))

    assert arrived["Location"].endswith("/accounts/providers/")
    assert asked_in(left["Location"])["renew"] == "true"
    assert [asked.get("renew") for _, asked in server.asked] == [None, "true"]


@pytest.mark.usefixtures("campus")
def test_a_user_cannot_confirm_with_another_identity(client: Client, server: CasServer) -> None:
    sign_in_with_cas(client, server)
    left = client.post("/accounts/providers/confirm/", {"upstream": "campus"})
    back, _ = server.issue(left["Location"], "somebody-else")

    assert client.get(path_of(back)).status_code == 403
