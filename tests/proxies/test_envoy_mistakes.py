"""Mistakes in deploy/envoy: requests are refused, or docs/envoy.md says which get through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import KEPT, Events, ask_for_a_published_check, mistaken
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import DEPLOY, Proxy
from tests.proxies.wire import Reply, exchange, request_bytes

pytestmark = pytest.mark.proxy

SHIPPED = (DEPLOY / "envoy" / "complete.yaml").read_text()


def between(start: str, end: str) -> str:
    """Return a part of the shipped configuration, up to the start of the next."""
    at = SHIPPED.index(start)
    return SHIPPED[at : SHIPPED.index(end, at)]


CLEAN = between("                  # Removes every identity header", "                  # The check.")
CHECK = between("                  # The check.", "                  # Removes the portal's cookies")
ENCRYPTION = between("- transport_socket:", "filters:\n            - name: envoy.filters.network")
HIDDEN_CHECKS = between(
    "                        # Without this, visitors", "                    - name: app\n"
)
PREFIX = "path_prefix: /authgate/envoy\n                        # No `allowed"
LAST_ROUTE = between(
    "                        # Uploads of any size", "                    # ---- a site on an"
)
TIMEOUT = "                request_headers_timeout: 10s\n"
ANY_NAME = """\
                    - name: any
                      domains: ["*"]
                      routes:
                        - match: {prefix: /}
                          route: {cluster: ops}
"""
ERROR_PAGE = """\
                local_reply_config:
                  mappers:
                    - filter:
                        status_code_filter:
                          comparison: {op: EQ, value: {default_value: 401, runtime_key: nothing}}
                      status_code: 200
"""


def envoy_with(
    mistake: dict[str, str], portal: Portal, backend: Backend, folder: Path, portal_at: str = ""
) -> AbstractContextManager[Proxy]:
    return mistaken("envoy", mistake, portal, backend, folder, portal_at=portal_at)


# ---- refused, and shown to the administrator -------------------------------------------------------------

RECOGNISED = {
    "without the client's address": (
        {"                          - exact: x-forwarded-for\n": ""},
        "envoy: x-forwarded-for missing",
    ),
    "without the scheme": (
        {"                          - exact: x-forwarded-proto\n": ""},
        "envoy: x-forwarded-proto missing",
    ),
    "with another proxy's contract": (
        {PREFIX: PREFIX.replace("path_prefix: /authgate/envoy", "path_override: /authgate/traefik")},
        "traefik: x-forwarded-host missing",
    ),
    "without the path that was asked for": (
        {PREFIX: PREFIX.replace("path_prefix", "path_override")},
        "envoy: request target",
    ),
    "with a filter in the prefix": (
        {PREFIX: PREFIX.replace("/envoy\n", "/envoy?allowed_groups=staff\n")},
        "envoy: request target",
    ),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_requests_are_refused_and_the_administrator_sees_why(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake, event = RECOGNISED[name]
    with envoy_with(mistake, portal, backend, tmp_path) as envoy:
        replies = [envoy.ask("/page", headers=NAVIGATION, who=who) for who in ("", "alice")]

    assert [reply.status for reply in replies] == [400, 400]
    assert backend.take() == []
    assert events.report(event)


def over_plain_http(envoy: Proxy, *headers: tuple[str, str]) -> Reply:
    """Send a request of alice as a load balancer does that has removed the encryption."""
    cookie = ("Cookie", envoy.portal.cookie("alice", "app"))
    request = request_bytes("GET", "/page", envoy.portal.host("app"), [*FETCH.items(), cookie, *headers])
    envoy.backend.take()
    reply = exchange(envoy.address, request, tls_name=None)
    assert reply is not None
    return reply


def test_a_wrong_scheme_behind_a_load_balancer_is_an_unknown_origin(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    with envoy_with({ENCRYPTION: ""}, portal, backend, tmp_path) as envoy:
        reply = over_plain_http(envoy, ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.7"))

    assert reply.status == 403
    assert backend.take() == []
    assert events.report("envoy: unknown origin", portal.origin("app").replace("https:", "http:"))


def test_a_configured_load_balancer_passes_its_clients_addresses_on(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """This is not a mistake, but the cure of the one before."""
    counted = {ENCRYPTION: "", "xff_num_trusted_hops: 0": "xff_num_trusted_hops: 1"}
    with envoy_with(counted, portal, backend, tmp_path) as envoy:
        forwarded = ("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
        reply = over_plain_http(envoy, ("X-Forwarded-Proto", "https"), forwarded)

    [received] = backend.take()
    assert reply.status == 200
    assert received.all("X-Forwarded-For") == ["203.0.113.7"]


def test_a_virtual_host_for_any_name_opens_no_unknown_host(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    clusters = "\n  clusters:\n"
    with envoy_with({clusters: ANY_NAME + clusters}, portal, backend, tmp_path) as envoy:
        cookie = {"Cookie": portal.cookie("alice", "ops")}
        reply = envoy.send(request_bytes("GET", "/", "other.example.com", NAVIGATION | cookie))

    assert reply is not None and reply.status == 403
    assert backend.take() == []
    assert events.report("envoy: unknown origin", "https://other.example.com")


@pytest.fixture(scope="module")
def published(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that does not hide the checks on the portal's site."""
    routes = """\
                        - match: {prefix: /}
                          route: {cluster: ikd-portal}
"""
    folder = tmp_path_factory.mktemp("published")
    with mistaken("envoy", {HIDDEN_CHECKS: routes}, portal, backend, folder, loopback=KEPT) as proxy:
        yield proxy


@pytest.mark.parametrize("contract", ["nginx", "traefik", "caddy", "haproxy", "ingress-nginx?host=app"])
def test_a_published_check_reveals_no_user_to_outsiders(contract: str, published: Proxy) -> None:
    reply = ask_for_a_published_check(published, contract)

    assert reply.status in (400, 403)
    assert reply.header("X-Auth-Request-User") == ""


# ---- refused, without a reason that the portal can know --------------------------------------------------


def test_without_cookies_every_user_is_sent_to_sign_in(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"                          - exact: cookie\n": ""}
    with envoy_with(mistake, portal, backend, tmp_path) as envoy:
        reply = envoy.ask("/page", headers=NAVIGATION, who="alice")

    assert reply.status == 302
    assert reply.header("Location").startswith(f"{portal.origin('portal')}/continue?")
    assert backend.take() == []


def test_without_the_prefix_a_check_asks_the_portal_for_its_own_pages(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    with envoy_with({PREFIX: PREFIX.partition("\n")[2]}, portal, backend, tmp_path) as envoy:
        replies = [
            envoy.ask(path, headers=NAVIGATION, who="alice") for path in ("/page", "/staff/rota", "/static/x")
        ]

    assert [reply.status for reply in replies] == [404, 404, 404]
    assert backend.take() == []


@pytest.mark.parametrize("port", ["", ":80", ":8443"])
def test_a_port_that_is_not_configured_is_not_found(envoy: Proxy, port: str) -> None:
    host = f"{envoy.portal.names['app']}{port}"
    cookie = {"Cookie": envoy.portal.cookie("alice", "app")}

    reply = envoy.send(request_bytes("GET", "/page", host, NAVIGATION | cookie))

    assert reply is not None and reply.status == 404
    assert envoy.backend.take() == []


def test_an_error_page_with_200_does_not_open_the_application(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    with envoy_with({TIMEOUT: TIMEOUT + ERROR_PAGE}, portal, backend, tmp_path) as envoy:
        reply = envoy.ask("/page", headers=FETCH)

    assert reply.status == 200
    assert b"reached" not in reply.body
    assert backend.take() == []


# ---- what the portal cannot see, and the documentation warns of ------------------------------------------


def test_headers_removed_after_the_check_do_not_reach_the_application(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    with envoy_with({CLEAN: "", CHECK: CHECK + CLEAN}, portal, backend, tmp_path) as envoy:
        envoy.ask("/page", headers=FETCH, who="alice")

    [received] = backend.take()
    assert received.all("X-Auth-Request-User") == []


def test_without_removal_the_application_receives_a_clients_identity_headers(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    claims = {"X-Auth-Request-User": "mallory", "Remote-User": "mallory"}
    with envoy_with({CLEAN: ""}, portal, backend, tmp_path) as envoy:
        envoy.ask("/page", headers=FETCH | claims, who="alice")
        [checked] = backend.take()
        envoy.ask("/public/logo.png", headers=FETCH | claims)
        [public] = backend.take()

    assert checked.all("X-Auth-Request-User") == ["alice"]
    assert checked.all("Remote-User") == ["mallory"]
    assert public.all("X-Auth-Request-User") == ["mallory"]


def test_with_failure_mode_allow_requests_without_a_portal_pass_without_a_user(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake, nowhere = {"failure_mode_allow: false": "failure_mode_allow: true"}, f"127.0.0.1:{free_port()}"
    with envoy_with(mistake, portal, backend, tmp_path, portal_at=nowhere) as envoy:
        envoy.ask("/staff/rota", headers=FETCH | {"X-Auth-Request-User": "alice"})

    [received] = backend.take()
    assert received.all("X-Auth-Request-User") == []


def test_without_use_remote_address_clients_choose_their_network(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"use_remote_address: true": "use_remote_address: false"}
    claims = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    with envoy_with(mistake, portal, backend, tmp_path) as envoy:
        envoy.ask("/office", headers=FETCH | claims, who="alice")

    assert len(backend.take()) == 1


def test_a_route_that_is_chosen_after_the_check_is_unchecked(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {
        LAST_ROUTE: LAST_ROUTE.replace("prefix: /}", "prefix: /page}"),
        "clear_route_cache: false      # true: a path": "clear_route_cache: true      # with",
        "cut_cookies(headers)\n                          end": 'headers:replace(":path", "/page") end',
    }
    with envoy_with(mistake, portal, backend, tmp_path) as envoy:
        envoy.ask("/page", headers=FETCH)
        with_a_route = backend.take()
        envoy.ask("/nowhere", headers=FETCH)
        without = backend.take()

    assert (len(with_a_route), len(without)) == (0, 1)
