"""Mistakes in deploy/caddy: requests are refused, or docs/caddy.md says which get through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import KEPT, LOOPBACK, Events, ask_for_a_published_check, mistaken
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import Proxy

pytestmark = pytest.mark.proxy

CLAIM = {"X-Auth-Request-User": "mallory", "X-Forwarded-Email": "mallory@example.com"}


def caddy_with(
    mistake: dict[str, str], portal: Portal, backend: Backend, folder: Path, portal_at: str = ""
) -> AbstractContextManager[Proxy]:
    return mistaken("caddy", mistake, portal, backend, folder, portal_at=portal_at)


# ---- refused, and shown to the administrator -------------------------------------------------------------

RECOGNISED = {
    "without the question mark": (
        {"/authgate/caddy? ": "/authgate/caddy "},
        403,
        "caddy: unknown parameter in the check's URL",
    ),
    "with another proxy's contract": (
        {"/authgate/caddy? ": "/authgate/ingress-nginx? "},
        403,
        "ingress-nginx: x-original-method missing",
    ),
    "with Envoy's contract": ({"/authgate/caddy? ": "/authgate/envoy? "}, 400, "envoy: request target"),
    "without the path that was asked for": (
        {"\t\theader_up X-Forwarded-Uri {http.request.orig_uri}\n": ""},
        400,
        "caddy: x-forwarded-uri missing",
    ),
    "with a scheme that was lost": (
        {"X-Forwarded-Proto https": "X-Forwarded-Proto http"},
        403,
        "caddy: unknown origin",
    ),
    "with a port that nobody wrote down": (
        {"X-Forwarded-Host {host}": "X-Forwarded-Host {http.request.host}"},
        403,
        "caddy: unknown origin",
    ),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_requests_are_refused_and_the_administrator_sees_why(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake, status, event = RECOGNISED[name]
    with caddy_with(mistake, portal, backend, tmp_path) as caddy:
        replies = [caddy.ask("/page?x=1", headers=NAVIGATION, who=who) for who in ("", "alice")]

    assert [reply.status for reply in replies] == [status, status]
    assert backend.take() == []
    assert events.report(event, origin_of(name, portal))


def origin_of(name: str, portal: Portal) -> str:
    """Return the origin in the event."""
    app = portal.origin("app")
    return {
        "without the question mark": app,
        "without the path that was asked for": app,
        "with Envoy's contract": app,
        "with a scheme that was lost": app.replace("https:", "http:"),
        "with a port that nobody wrote down": f"https://{portal.names['app']}",
    }.get(name, "")


def test_if_caddy_sends_its_own_address_the_refusals_show_it(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    """A rule for Caddy's own network would admit every client. docs/caddy.md warns of it."""
    mistake = {"X-Forwarded-For {client_ip}": "X-Forwarded-For {http.request.local.host}"}
    with caddy_with(mistake, portal, backend, tmp_path) as caddy:
        reply = caddy.ask("/office", headers=FETCH, who="alice")

    assert reply.status == 403
    assert events.name_a_refused_client(LOOPBACK)


@pytest.fixture(scope="module")
def published(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that does not hide the checks on the portal's site."""
    folder = tmp_path_factory.mktemp("published")
    with mistaken(
        "caddy", {"respond @ikd_checks 404": "# published"}, portal, backend, folder, loopback=KEPT
    ) as proxy:
        yield proxy


@pytest.mark.parametrize("contract", ["nginx", "traefik", "caddy", "haproxy", "envoy/page"])
def test_a_published_check_reveals_no_user_to_outsiders(contract: str, published: Proxy) -> None:
    reply = ask_for_a_published_check(published, contract)

    assert reply.header("X-Auth-Request-User") == ""


# ---- refused, without a reason that the portal can know --------------------------------------------------


def test_a_client_that_adds_a_filter_to_its_check_is_refused(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    with caddy_with({"/authgate/caddy? ": "/authgate/caddy "}, portal, backend, tmp_path) as caddy:
        reply = caddy.ask("/staff/lounge?allowed_groups=guests", headers=FETCH, who="bob")

    assert reply.status == 403
    assert backend.take() == []


def test_an_error_page_with_200_does_not_open_the_application(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    with caddy_with({"copy_response\n": "copy_response 200\n"}, portal, backend, tmp_path) as caddy:
        reply = caddy.ask("/page", headers=FETCH)

    assert reply.status == 200
    assert b"reached" not in reply.body
    assert backend.take() == []


def test_if_cookies_are_removed_before_the_check_users_count_as_signed_out(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    early = {
        "\t\timport ikd_check {args[0]}\n": "\t\trequest_header -Cookie\n\t\timport ikd_check {args[0]}\n"
    }
    with caddy_with(early, portal, backend, tmp_path) as caddy:
        reply = caddy.ask("/page", headers=NAVIGATION, who="alice")

    assert reply.status == 302
    assert reply.header("Location").startswith(f"{portal.origin('portal')}/continue?")
    assert backend.take() == []


def test_another_program_on_the_portals_port_cannot_admit_requests(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """The file has no mistake, but the address is wrong. `forward_auth` accepts any 2xx."""
    another = backend.addresses["wiki"]
    with caddy_with({}, portal, backend, tmp_path, portal_at=another) as caddy:
        reply = caddy.ask("/page", headers=NAVIGATION, who="alice")

    assert reply.status == 503
    assert [received for received in backend.take() if received.application == "app"] == []


# ---- what the portal cannot see: docs/caddy.md names each -------------------------------------------------


def test_a_clients_identity_header_that_is_kept_reaches_only_public_paths(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"\trequest_header -X-Auth-Request-*\n": "", "\trequest_header -Forwarded\n": "\t# left in\n"}
    with caddy_with(mistake, portal, backend, tmp_path) as caddy:
        caddy.ask("/page", headers=FETCH | CLAIM, who="alice")
        [checked] = backend.take()
        caddy.ask("/public/logo.png", headers=FETCH | CLAIM)
        [public] = backend.take()

    assert checked.all("X-Auth-Request-User") == ["alice"]
    assert public.all("X-Auth-Request-User") == ["mallory"]


def test_trusting_all_private_addresses_lets_a_client_choose_its_address(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    everybody = {"protocols h1 h2": "protocols h1 h2\n\t\ttrusted_proxies static private_ranges"}
    with caddy_with(everybody, portal, backend, tmp_path) as caddy:
        claim = {"X-Forwarded-For": "203.0.113.7"}
        reply = caddy.ask("/office", headers=FETCH | claim, who="alice")

    assert reply.status == 200


def test_a_configured_load_balancer_passes_its_clients_addresses_on(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """This is not a mistake, but the cure of the one before."""
    named = "protocols h1 h2\n\t\ttrusted_proxies static 127.0.0.1/32\n\t\ttrusted_proxies_strict"
    forwarded = {"X-Forwarded-For": "203.0.113.7, 198.51.100.1"}
    with caddy_with({"protocols h1 h2": named}, portal, backend, tmp_path) as caddy:
        office = caddy.ask("/office", headers=FETCH | forwarded, who="alice")
        caddy.ask("/page", headers=FETCH | forwarded, who="alice")

    [received] = backend.take()
    assert office.status == 403
    assert received.all("X-Forwarded-For") == ["198.51.100.1"]


def test_an_error_handler_that_leads_to_the_application_opens_it_while_the_portal_is_down(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    handler = {
        '\t\trespond "The service does not answer. Please try again in a moment." 503\n': (
            f"\t\treverse_proxy {backend.addresses['app']}\n"
        )
    }
    away = f"127.0.0.1:{free_port()}"
    with caddy_with(handler, portal, backend, tmp_path, portal_at=away) as caddy:
        caddy.ask("/page", headers=FETCH | CLAIM)

    [received] = backend.take()
    assert received.all("X-Auth-Request-User") == []
