"""Mistakes in deploy/nginx: requests are refused, or docs/nginx.md says which get through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import KEPT, LOOPBACK, Events, ask_for_a_published_check, mistaken
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import Proxy

pytestmark = pytest.mark.proxy

SCHEME = "proxy_set_header X-Forwarded-Proto $scheme;\n"
HOST = "proxy_set_header X-Forwarded-Host $host$ikd_port;\n"
URI = "proxy_set_header X-Forwarded-Uri $request_uri;\n"
FOR = "proxy_set_header X-Forwarded-For $remote_addr;     # behind"
PROXY_PASS = "proxy_pass http://ikd-portal/authgate/nginx;"
HIDDEN = """\
location = /authgate  { return 404; }
location ^~ /authgate/ { return 404; }
location = /oauth2    { return 404; }
location ^~ /oauth2/  { return 404; }
"""

# ---- refused, and shown to the administrator -------------------------------------------------------------

RECOGNISED = {
    "with Envoy's contract": (
        {PROXY_PASS: PROXY_PASS.replace("nginx;", "envoy;")},
        503,
        "envoy: request target",
    ),
    "with ingress-nginx's contract": (
        {PROXY_PASS: PROXY_PASS.replace("nginx;", "ingress-nginx;")},
        403,
        "ingress-nginx: x-original-method missing",
    ),
    "without the page asked for": ({f"{URI}{FOR}": FOR}, 403, "nginx: x-forwarded-uri missing"),
    "without the client's address": ({FOR: "# behind"}, 400, "nginx: x-forwarded-for missing"),
    "with a scheme lost behind a load balancer": (
        {f"{SCHEME}{HOST}{URI}": f"proxy_set_header X-Forwarded-Proto http;\n{HOST}{URI}"},
        403,
        "nginx: unknown origin",
    ),
    "with the browser's query merged": (
        {PROXY_PASS: "proxy_pass http://ikd-portal/authgate/nginx?$args&x=1;"},
        403,
        "nginx: unknown parameter in the check's URL",
    ),
    "with a port that nobody typed": (
        {"default   :$server_port;": f"default   :{free_port()};"},
        403,
        "nginx: unknown origin",
    ),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_requests_are_refused_and_the_administrator_sees_why(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake, status, event = RECOGNISED[name]
    with mistaken("nginx", mistake, portal, backend, tmp_path) as nginx:
        replies = [nginx.ask("/page", headers=NAVIGATION, who=who) for who in ("", "alice")]

    assert [reply.status for reply in replies] == [status, status]
    assert backend.take() == []
    assert events.report(event)


def test_if_nginx_sends_its_own_address_the_refusals_show_it(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    """A rule for nginx's own network would admit every client. docs/nginx.md warns of it."""
    mistake = {FOR: "proxy_set_header X-Forwarded-For $server_addr;     # behind"}
    with mistaken("nginx", mistake, portal, backend, tmp_path) as nginx:
        reply = nginx.ask("/office", headers=FETCH, who="alice")

    assert reply.status == 403
    assert events.name_a_refused_client(LOOPBACK)


# ---- refused, without a reason that the portal can know --------------------------------------------------


def test_a_query_in_auth_request_is_refused(portal: Portal, backend: Backend, tmp_path: Path) -> None:
    mistake = {"auth_request /authgate/nginx/staff;": "auth_request /authgate/nginx?allowed_groups=staff;"}
    with mistaken("nginx", mistake, portal, backend, tmp_path) as nginx:
        replies = [nginx.ask("/staff/rota", headers=NAVIGATION, who=who) for who in ("", "alice", "bob")]

    assert [reply.status for reply in replies] == [503, 503, 503]
    assert "auth request unexpected status: 404" in nginx.server.log.read_text()
    assert backend.take() == []


@pytest.mark.parametrize("headers", [NAVIGATION, FETCH], ids=["page", "fetch"])
def test_an_error_page_with_200_does_not_open_the_application(
    headers: dict[str, str], portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"error_page 401 = @ikd_start;": "error_page 401 =200 @ikd_start;"}
    with mistaken("nginx", mistake, portal, backend, tmp_path) as nginx:
        reply = nginx.ask("/page", headers=headers)

    assert reply.status == 200
    assert b"reached" not in reply.body
    assert backend.take() == []


def test_a_check_published_on_a_site_reveals_only_the_users_own_name(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    internal = "    internal;\n    auth_request off;\n    client_max_body_size 0;             # by default"
    mistake = {internal: internal.replace("    internal;\n", "")}
    with mistaken("nginx", mistake, portal, backend, tmp_path) as nginx:
        claims = {"X-Forwarded-Host": portal.host("ops"), "X-Forwarded-Uri": "/", "X-Auth-Request-User": "x"}
        outsider = nginx.ask("/authgate/nginx", headers=FETCH | claims)
        guest = nginx.ask("/authgate/nginx", headers=FETCH | claims, who="bob")

    assert outsider.status == 401
    assert guest.header("X-Auth-Request-User") == "bob"
    assert backend.take() == []


@pytest.fixture(scope="module")
def published(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that does not hide the checks on the portal's site."""
    folder = tmp_path_factory.mktemp("published")
    with mistaken("nginx", {HIDDEN: ""}, portal, backend, folder, loopback=KEPT) as proxy:
        yield proxy


@pytest.mark.parametrize("contract", ["nginx", "traefik", "haproxy", "ingress-nginx?host=app", "envoy/page"])
def test_a_check_published_on_the_portals_site_reveals_no_user_to_outsiders(
    contract: str, published: Proxy
) -> None:
    reply = ask_for_a_published_check(published, contract)

    assert reply.header("X-Auth-Request-User") == ""


# ---- what the portal cannot see: docs/nginx.md names each -------------------------------------------------


def test_without_its_include_an_application_receives_a_clients_identity_headers(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    location = "    location / {\n        include ikd/application.conf;\n        proxy_pass http://app;"
    mistake = {location: location.replace("        include ikd/application.conf;\n", "")}
    with mistaken("nginx", mistake, portal, backend, tmp_path) as nginx:
        nginx.ask("/page", headers=FETCH | {"X-Auth-Request-User": "mallory"}, who="alice")
        signed_in = backend.take()
        nginx.ask("/page", headers=FETCH | {"X-Auth-Request-User": "mallory"})

    assert [received.all("X-Auth-Request-User") for received in signed_in] == [["mallory"]]
    assert backend.take() == []


def test_an_address_from_a_clients_header_can_be_forged(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {FOR: "proxy_set_header X-Forwarded-For $http_x_forwarded_for;     # behind"}
    with mistaken("nginx", mistake, portal, backend, tmp_path) as nginx:
        reply = nginx.ask("/office", headers=FETCH | {"X-Forwarded-For": "203.0.113.7"}, who="alice")

    assert reply.status == 200
