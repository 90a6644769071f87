"""A failed attempt still ends on its page: by another tab's sign-in, or by another attempt."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html import unescape
from http.cookies import SimpleCookie
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts.models import Upstream
from accounts.upstreams import views
from accounts.upstreams.linking import Assertion
from accounts.upstreams.protocols import PROTOCOLS
from authgate.models import AuditEvent
from authgate.peer import TURNED_AWAY
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.authgate.asking import scope_of
from tests.upstreams.cas_server import CasServer, cas, path_of, redirect_from_portal
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import START, sign_in

PAGE = "https://sso.example.com/accounts/"
REFUSED = cas("<cas:authenticationFailure code='INVALID_TICKET'/>")


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_let_other_tabs_finish", lambda attempt: None)


def tab(client: PortalClient, provider: Provider, page: str = PAGE) -> str:
    """Open a tab and sign in at the provider. Return the path back to the portal."""
    return provider.sign_in(client.get(START, {"next": page})["Location"])


def test_a_tab_with_an_outdated_code_begins_again_and_ends_on_its_page(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    back = tab(client, provider)
    provider.attempts.clear()

    again = client.get(back)
    left = client.get(again["Location"])

    assert client.get(provider.sign_in(left["Location"]))["Location"] == PAGE
    assert not AuditEvent.objects.filter(kind="upstream_failed").exists()


def test_a_tab_that_fails_after_another_tab_signed_in_goes_to_its_page(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    backs = [tab(client, provider, f"{PAGE}?tab={number}") for number in range(3)]
    client.get(backs[0])
    provider.attempts.clear()

    assert [client.get(back)["Location"] for back in backs[1:]] == [f"{PAGE}?tab=1", f"{PAGE}?tab=2"]


def test_two_tabs_of_a_signed_in_browser_return_at_once(
    client: PortalClient, provider: Provider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second tab's sign-in replaces the session while the first waits for the provider."""
    first, second, third = (tab(client, provider, f"{PAGE}?tab={number}") for number in range(3))
    client.get(first)
    other = PortalClient(HTTP_HOST="sso.example.com")
    other.cookies = SimpleCookie(client.cookies.output(header="", sep=";"))
    openid = PROTOCOLS["oidc"]

    def slow(*arguments: Any) -> Assertion:
        monkeypatch.setitem(PROTOCOLS, "oidc", openid)
        assert other.get(third)["Location"] == f"{PAGE}?tab=2"
        return openid.redeem(*arguments)

    monkeypatch.setitem(PROTOCOLS, "oidc", replace(openid, redeem=slow))

    assert client.get(second)["Location"] == f"{PAGE}?tab=1"
    assert is_signed_in(client)
    assert is_signed_in(other)


def test_a_provider_that_refuses_every_code_ends_in_a_page(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.answers["/token"] = (400, {}, b'{"error": "invalid_grant"}')
    location, rounds = START, 0

    while (answer := client.get(location)).status_code == 302:
        rounds += 1
        location = answer["Location"]
        location = provider.sign_in(location) if location.startswith(provider.issuer) else location

    assert answer.status_code == 400 and "Start again" in answer.content.decode()
    assert rounds < 10


def test_a_provider_that_repeats_an_old_answer_ends_in_a_page(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    old = provider.sign_in(client.get(START)["Location"])
    provider.answers["/token"] = (500, {}, b"")
    client.get(old)
    location, rounds = old, 0

    while (answer := client.get(location)).status_code == 302:
        rounds += 1
        location = old if answer["Location"].startswith(provider.issuer) else answer["Location"]

    assert answer.status_code == 400
    assert rounds < 10


def test_reloading_the_page_of_a_failure_begins_again(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.answers["/token"] = (500, {}, b"")
    back = tab(client, provider)
    assert client.get(back).status_code == 503
    del provider.answers["/token"]

    left = client.get(client.get(back)["Location"])

    assert client.get(provider.sign_in(left["Location"]))["Location"] == PAGE


def test_reloading_the_page_of_a_failure_continues_once_signed_in(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.answers["/token"] = (500, {}, b"")
    back = tab(client, provider)
    client.get(back)
    del provider.answers["/token"]
    sign_in(client, provider)

    assert client.get(back)["Location"] == PAGE


def test_trying_again_after_a_long_time_at_the_provider_keeps_the_page(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    back = tab(client, provider)

    with time_machine.travel(time.time() + 1800, tick=True):
        left = client.get(client.get(back)["Location"])
        answer = client.get(provider.sign_in(left["Location"]))

    assert answer["Location"] == PAGE


def test_another_browser_does_not_begin_again(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    back = tab(client, provider)
    client.get(back)

    assert other_browser.get(back).status_code == 400


def test_a_tab_with_a_cookie_that_another_tab_replaced_begins_again(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    back = tab(client, provider)
    [name] = [name for name in client.cookies if "attempt" in name]
    client.cookies[name] = "another-tabs-cookie-42"

    left = client.get(client.get(back)["Location"])

    assert not provider.forms
    assert client.get(provider.sign_in(left["Location"]))["Location"] == PAGE


def test_a_user_refused_by_the_provider_sees_so_although_signed_in(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    left = client.get(START)["Location"]
    sign_in(client, provider)

    assert client.get(provider.sign_in(left, error="access_denied")).status_code == 403


def test_after_a_sign_out_no_attempt_begins_by_itself(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    back = tab(client, provider)
    client.get(back)
    client.post("/accounts/logout/")

    assert client.get(back).status_code == 400
    assert not is_signed_in(client)


def test_without_a_cache_a_failure_is_a_page(
    client: PortalClient, provider: Provider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> Any:
        raise RedisConnectionError

    back = tab(client, provider)
    client.get(back)
    del client.cookies["__Host-ikd_portal"]
    monkeypatch.setattr(cache, "add", away)
    client.raise_request_exception = False

    assert client.get(back).status_code == 503


@pytest.mark.usefixtures("campus")
def test_a_cas_server_that_refuses_every_ticket_ends_in_a_page(
    client: PortalClient, server: CasServer
) -> None:
    server.answer = (200, {}, REFUSED)
    back, rounds = path_of(server.issue(redirect_from_portal(client), "alice-there")[0]), 0

    while (answer := client.get(back)).status_code == 302:
        rounds += 1
        left = client.get(answer["Location"])
        back = path_of(server.issue(left["Location"], "alice-there")[0])

    assert answer.status_code == 400
    assert rounds == 3
    assert re.search(r'href="/upstreams/campus/start\?attempt=', unescape(answer.content.decode()))


def test_a_request_that_waited_too_long_gets_a_page_that_can_be_reloaded(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    back = tab(client, provider)
    path, _, query = back.partition("?")
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    scope = scope_of(path, query, [(b"host", b"sso.example.com"), (b"cookie", cookies.encode())], "127.0.0.1")
    scope["state"] = {TURNED_AWAY: True}

    turned_away = client.get(back, **{"asgi.scope": scope})

    assert turned_away.status_code == 503 and "is not responding" in turned_away.content.decode()
    assert not provider.forms
    assert client.get(back)["Location"] == PAGE
