"""Mistakes in deploy/traefik: requests are refused, or docs/traefik.md says which get through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import KEPT, Events, ask_for_a_published_check, mistaken
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.wire import Reply, exchange, request_bytes

pytestmark = pytest.mark.proxy

ADDRESS = "address: http://127.0.0.1:8000/authgate/traefik\n        trust"
CHAIN = "    ikd:\n      chain:\n        middlewares: [ikd-clean, ikd-check]\n"
HIDDEN = "Host(`sso.example.com`) && !PathRegexp(`(?i)^/(authgate|oauth2)(/|$)`)"
PLAIN = """\
    address: ":80"
    http:
      redirections:
        entryPoint:
          to: websecure
          scheme: https
"""
BEHIND_A_BALANCER = {PLAIN: '    address: ":80"     # to: websecure\n'}
"""A load balancer in front of Traefik removes the encryption."""

# ---- refused, and shown to the administrator -------------------------------------------------------------

RECOGNISED = {
    "with ingress-nginx's contract": (
        {ADDRESS: ADDRESS.replace("/traefik\n", "/ingress-nginx\n")},
        403,
        "ingress-nginx: x-original-method missing",
    ),
    "with Envoy's contract": (
        {ADDRESS: ADDRESS.replace("/traefik\n", "/envoy\n")},
        400,
        "envoy: request target",
    ),
    "with oauth2-proxy's contract for nginx": (
        {ADDRESS: ADDRESS.replace("/authgate/traefik\n", "/oauth2/auth\n")},
        403,
        "oauth2 nginx: x-scheme missing",
    ),
    "with an empty filter": (
        {ADDRESS: ADDRESS.replace("/traefik\n", "/traefik?allowed_groups=\n")},
        403,
        "traefik: allowed_groups empty",
    ),
    "with a page to go to in the check's URL": (
        {ADDRESS: ADDRESS.replace("/traefik\n", "/traefik?rd=https://app.example.com/\n")},
        403,
        "traefik: unknown parameter in the check's URL",
    ),
    "with another entry point's port": (
        {ADDRESS: ADDRESS.replace("/traefik\n", "/traefik?port=1\n")},
        400,
        "traefik: port of x-forwarded-host is not the one in the check's URL",
    ),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_requests_are_refused_and_the_administrator_sees_why(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake, status, event = RECOGNISED[name]
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        replies = [traefik.ask("/page", headers=NAVIGATION, who=who) for who in ("", "alice")]

    assert [reply.status for reply in replies] == [status, status]
    assert backend.take() == []
    assert events.report(event)


def over_plain_http(traefik: Proxy, path: str) -> Reply:
    """Send a request of alice in the office as a load balancer does that has removed the encryption."""
    portal = traefik.portal
    headers = {
        **FETCH,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "203.0.113.7",
        "Cookie": portal.cookie("alice", "app"),
    }
    address = (traefik.address[0], portal.plain_port)
    reply = exchange(address, request_bytes("GET", path, portal.host("app"), headers), tls_name=None)
    assert reply is not None
    return reply


def test_a_wrong_scheme_behind_a_load_balancer_is_an_unknown_origin(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    with mistaken("traefik", BEHIND_A_BALANCER, portal, backend, tmp_path) as traefik:
        reply = over_plain_http(traefik, "/page")

    assert reply.status == 403
    assert backend.take() == []
    assert events.report("traefik: unknown origin", portal.origin("app").replace("https:", "http:"))


def test_a_configured_load_balancer_passes_its_clients_addresses_on(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """This is half the cure of the mistake before. The other half, for addresses, is IKD_FORWARDED_HOPS=1."""
    named = BEHIND_A_BALANCER | {
        PLAIN: '    address: ":80"     # to: websecure\n    forwardedHeaders: {trustedIPs: [127.0.0.1]}\n'
    }
    with mistaken("traefik", named, portal, backend, tmp_path) as traefik:
        reply = over_plain_http(traefik, "/page")

    assert reply.status == 200
    assert len(backend.take()) == 1


# ---- refused, without a reason that the portal can know --------------------------------------------------


def test_with_a_missing_middleware_the_site_is_not_served(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"middlewares: [ikd]": "middlewares: [ikd-chain]"}
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        reply = traefik.ask("/page", headers=NAVIGATION, who="alice")

    assert (reply.status, reply.body) == (404, b"404 page not found\n")
    assert 'middleware \\"ikd-chain@file\\" does not exist' in traefik.server.log.read_text()
    assert backend.take() == []


def test_without_the_clients_headers_every_user_is_sent_to_sign_in(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {ADDRESS: ADDRESS.replace("trust", 'authRequestHeaders: ["Accept"]\n        trust')}
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        replies = [traefik.ask("/page", headers=NAVIGATION, who=who) for who in ("", "alice")]

    assert [reply.status for reply in replies] == [302, 302]
    assert backend.take() == []


def test_an_error_page_with_200_does_not_open_the_application(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """The page is one of the wiki's."""
    errors = """\
    errors:
      errors: {status: ["401"], statusRewrites: {"401": 200}, service: wiki, query: /sorry}
"""
    mistake = {CHAIN: errors + CHAIN.replace("[ikd-clean,", "[errors, ikd-clean,")}
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        reply = traefik.ask("/page", headers=FETCH)

    assert reply.status == 200
    assert [received.application for received in backend.take()] == ["wiki"]


@pytest.fixture(scope="module")
def published(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that does not hide the checks on the portal's site."""
    folder = tmp_path_factory.mktemp("published")
    with mistaken(
        "traefik", {HIDDEN: "Host(`sso.example.com`)"}, portal, backend, folder, loopback=KEPT
    ) as proxy:
        yield proxy


@pytest.mark.parametrize("contract", ["nginx", "traefik", "haproxy", "ingress-nginx?host=app", "envoy/page"])
def test_a_published_check_reveals_no_user_to_outsiders(contract: str, published: Proxy) -> None:
    reply = ask_for_a_published_check(published, contract)

    assert reply.header("X-Auth-Request-User") == ""


def test_traefik_cannot_use_the_check_for_ingress_nginx(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    """Traefik's provider for these annotations passes X-Original-URL on as a client sent it."""
    mistake = {
        "/authgate/traefik\n": f"/authgate/ingress-nginx?host={portal.host('app')}\n",
        "[ikd-clean, ikd-check]": "[ikd-check]",
    }
    claims = {
        "X-Original-URL": f"{portal.origin('app')}/open/news",
        "X-Original-Method": "GET",
        "X-Sent-From": "nginx-ingress-controller",
        "Connection": "close, X-Forwarded-Proto",
    }
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        replies = [
            traefik.ask("/page", who=who, headers=FETCH | more)
            for who in ("", "bob")
            for more in ({}, claims)
        ]

    assert [reply.status for reply in replies] == [403] * 4
    assert backend.take() == []
    assert events.report("ingress-nginx: x-forwarded-proto, which ingress-nginx never sends")


# ---- what the portal cannot see: docs/traefik.md names each -----------------------------------------------


def test_an_identity_header_that_is_kept_reaches_public_paths(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {CHAIN: CHAIN.replace("ikd-clean, ", ""), "[ikd-clean, ikd-plain-path]": "[ikd-plain-path]"}
    claims = {"X-Auth-Request-User": "mallory", "X-Forwarded-Email": "mallory@example.com"}
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        traefik.ask("/page", headers=FETCH | claims, who="alice")
        [checked] = backend.take()
        traefik.ask("/public/logo.png", headers=FETCH | claims)
        [public] = backend.take()

    assert checked.all("X-Auth-Request-User") == ["alice"]
    assert checked.all("X-Forwarded-Email") == ["mallory@example.com"]
    assert public.all("X-Auth-Request-User") == ["mallory"]


def test_an_entry_point_that_trusts_all_clients_lets_them_set_the_checks_headers(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"      trustedIPs: []\n": "      insecure: true\n"}
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        reply = traefik.ask("/page", headers=FETCH | {"X-Forwarded-Uri": "/open/news"})

    assert reply.status == 200
