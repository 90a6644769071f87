"""Mistakes in deploy/ingress-nginx: requests are refused, or its documentation says which get through."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import Events, ask_for_a_published_check, mistaken
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import Proxy
from tests.proxies.wire import exchange, request_bytes

pytestmark = pytest.mark.proxy

HOST = "?host=$host"
CHECK = "/authgate/ingress-nginx?host=$host"
ADDRESS = "http://portal.ikd.svc.cluster.local:8000/authgate/ingress-nginx"
SIGN_IN = "    nginx.ingress.kubernetes.io/auth-signin: https://$host/authgate/start\n"
HIDDEN = "{path: /authgate, pathType: ImplementationSpecific"
CLEARED = "  proxy-set-headers: ikd/clear-headers\n"
NO_BALANCER = '  use-forwarded-headers: "false"'


def ingress_nginx_with(
    mistake: dict[str, str], portal: Portal, backend: Backend, folder: Path
) -> AbstractContextManager[Proxy]:
    return mistaken("ingress_nginx", mistake, portal, backend, folder, file="minimal.yaml")


# ---- refused, and shown to the administrator -------------------------------------------------------------

RECOGNISED = {
    "without host": (
        {CHECK: "/authgate/ingress-nginx"},
        403,
        "ingress-nginx: host in the check's URL missing",
    ),
    "with another site's host": (
        {HOST: "?host=wiki.example.org"},
        403,
        "ingress-nginx: host of x-original-url is not the one that is served",
    ),
    "with the host that the client wrote": (
        {HOST: "?host=$http_host&host=$host"},
        403,
        "ingress-nginx: host in the check's URL doubled",
    ),
    "with nginx's contract": ({CHECK: "/authgate/nginx"}, 403, "nginx: x-forwarded-host missing"),
    "with Traefik's contract": ({CHECK: "/authgate/traefik"}, 500, "traefik: x-forwarded-host missing"),
    "with oauth2-proxy's address": ({CHECK: "/oauth2/auth"}, 403, "oauth2 nginx: x-scheme missing"),
    "with a filter misspelled": (
        {HOST: "?host=$host&allowed_group=staff"},
        403,
        "ingress-nginx: unknown parameter in the check's URL",
    ),
    "with a filter left empty": (
        {HOST: "?host=$host&allowed_groups="},
        403,
        "ingress-nginx: allowed_groups empty",
    ),
    "with the page asked for, and its query, merged": (
        {HOST: "?host=$host&rd=$request_uri"},
        403,
        "ingress-nginx: unknown parameter in the check's URL",
    ),
}
UNREPORTED = {
    "with a path that is none": ({"/authgate/ingress-nginx": "/authgate/ingress"}, 500),
    "with a portal that is not there": ({ADDRESS: f"http://127.0.0.1:{free_port()}/authgate"}, 500),
}


def statuses_of_everybody(proxy: Proxy) -> set[int]:
    """Request a page and a public one, with and without the headers of the contracts."""
    spoofed = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/open", "X-Scheme": "https"}
    return {
        proxy.ask(path, who=who, headers=NAVIGATION | more).status
        for path in ("/page?allowed_groups=guests", "/open/news")
        for who in ("", "bob")
        for more in ({}, spoofed)
    }


@pytest.mark.parametrize("name", RECOGNISED)
def test_requests_are_refused_and_the_administrator_sees_why(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake, status, event = RECOGNISED[name]
    with ingress_nginx_with(mistake, portal, backend, tmp_path) as proxy:
        statuses = statuses_of_everybody(proxy)

    assert statuses == {status}
    assert backend.take() == []
    assert events.report(event)


def test_a_wrong_scheme_behind_a_load_balancer_is_an_unknown_origin(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    """The balancer removed the encryption, and the controller was configured to accept plain http."""
    mistake = {NO_BALANCER: f'  ssl-redirect: "false"\n{NO_BALANCER}'}
    headers = FETCH | {"X-Forwarded-Proto": "https", "Cookie": portal.cookie("alice", "app")}
    with ingress_nginx_with(mistake, portal, backend, tmp_path) as proxy:
        request = request_bytes("GET", "/page", portal.host("app"), headers)
        reply = exchange((proxy.address[0], portal.plain_port), request, tls_name=None)

    assert reply is not None and reply.status == 403
    assert backend.take() == []
    assert events.report("ingress-nginx: unknown origin", portal.origin("app").replace("https:", "http:"))


# ---- refused, without a reason that the portal can know --------------------------------------------------


@pytest.mark.parametrize("name", UNREPORTED)
def test_requests_are_refused(name: str, portal: Portal, backend: Backend, tmp_path: Path) -> None:
    mistake, status = UNREPORTED[name]
    with ingress_nginx_with(mistake, portal, backend, tmp_path) as proxy:
        statuses = statuses_of_everybody(proxy)

    assert statuses == {status}
    assert backend.take() == []


@pytest.mark.parametrize("contract", ["nginx", "traefik", "haproxy", "ingress-nginx?host=app", "envoy/page"])
@pytest.mark.parametrize("cleared", [CLEARED, ""], ids=["cleared", "not cleared"])
def test_a_published_check_reveals_no_user_to_outsiders(
    cleared: str, contract: str, portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {HIDDEN: HIDDEN.replace("authgate", "elsewhere"), CLEARED: cleared}
    with ingress_nginx_with(mistake, portal, backend, tmp_path) as proxy:
        reply = ask_for_a_published_check(proxy, contract)

    assert reply.header("X-Auth-Request-User") == ""


def test_an_error_page_with_200_does_not_open_the_application(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """The page is the default backend's, which answers with its own status."""
    annotations = ('custom-http-errors: "401"', "default-backend: wiki")
    errors = "".join(f"    nginx.ingress.kubernetes.io/{each}\n" for each in annotations)
    with ingress_nginx_with({SIGN_IN: errors}, portal, backend, tmp_path) as proxy:
        reply = proxy.ask("/page", headers=FETCH)

    assert reply.status == 200
    assert [received.application for received in backend.take()] == ["wiki"]


# ---- what the portal cannot see: docs/ingress-nginx.md names each -----------------------------------------


def test_an_identity_header_that_is_kept_reaches_public_paths(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    claims = {"X-Auth-Request-User": "mallory", "X-Forwarded-Email": "mallory@example.com"}
    with ingress_nginx_with({CLEARED: ""}, portal, backend, tmp_path) as proxy:
        proxy.ask("/page", headers=FETCH | claims, who="alice")

    [received] = backend.take()
    assert received.all("X-Auth-Request-User") == ["alice"]
    assert received.all("X-Forwarded-Email") == ["mallory@example.com"]


def test_trusted_forwarded_headers_let_clients_choose_their_address(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {NO_BALANCER: NO_BALANCER.replace("false", "true")}
    with ingress_nginx_with(mistake, portal, backend, tmp_path) as proxy:
        reply = proxy.ask("/office", headers=FETCH | {"X-Forwarded-For": "203.0.113.7"}, who="alice")

    assert reply.status == 200
