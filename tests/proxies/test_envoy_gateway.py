"""Envoy Gateway only: its Envoy has the routes and limits of the generated objects.

`make gateway-test` runs it and the tests of all proxies, because a first build takes minutes.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from typing import Any

import pytest

from ikd_portal import gunicorn_conf
from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.proxy import Proxy
from tests.proxies.wire import request_bytes

pytestmark = [
    pytest.mark.proxy,
    pytest.mark.skipif("IKD_GATEWAY_TESTS" not in os.environ, reason="make gateway-test"),
]


@pytest.fixture(scope="module")
def dump(envoy_gateway: Proxy) -> dict[str, Any]:
    """The configuration of Envoy, by kind."""
    [place] = envoy_gateway.server.log.parent.rglob("admin-address.txt")
    with urllib.request.urlopen(f"http://{place.read_text().strip()}/config_dump") as answer:
        configs = json.load(answer)["configs"]
    return {each["@type"].rpartition(".")[2]: each for each in configs}


@pytest.fixture(scope="module")
def routes(dump: dict[str, Any]) -> list[tuple[str, Any]]:
    """All routes with a destination, with the names of their listeners."""
    configurations = [each["route_config"] for each in dump["RoutesConfigDump"]["dynamic_route_configs"]]
    return [
        (configuration["name"], route)
        for configuration in configurations
        for host in configuration["virtual_hosts"]
        for route in host["routes"]
        if "route" in route
    ]


def test_every_object_is_accepted(envoy_gateway: Proxy) -> None:
    log = envoy_gateway.server.log.read_text()

    assert "Got new status for SecurityPolicy" in log
    assert re.search(r'status: "False"\n +type: (?:Accepted|ResolvedRefs)', log) is None
    assert "setting 500 direct response" not in log


def test_every_route_except_the_portals_is_checked(routes: list[tuple[str, Any]]) -> None:
    checked = {listener: set() for listener, _ in routes}  # type: dict[str, set[bool]]
    for listener, route in routes:
        checked[listener].add("ext_authz" in str(route.get("typed_per_filter_config")))

    assert checked == {
        "ikd/ikd/portal": {False},
        "ikd/ikd/protected.example.com": {True},
        "ikd/ikd/protected.example.org": {True},
    }


def test_long_requests_are_not_cut_off(routes: list[tuple[str, Any]]) -> None:
    assert {route["route"].get("timeout") for _, route in routes} == {"0s"}


def test_envoy_closes_idle_connections_before_the_portal_does(dump: dict[str, Any]) -> None:
    clusters = [each["cluster"] for each in dump["ClustersConfigDump"]["dynamic_active_clusters"]]
    of_the_portal = [each for each in clusters if "extauth" in each["name"] or "ikd-portal" in each["name"]]
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

    assert len(of_the_portal) == 5
    for cluster in of_the_portal:
        chosen = cluster["typed_extension_protocol_options"][options]["common_http_protocol_options"]
        assert int(chosen["idle_timeout"].removesuffix("s")) < gunicorn_conf.keepalive


@pytest.mark.parametrize("tls_name", ["sso.example.com", "wiki.example.org", "other.example.com"])
def test_another_name_in_tls_does_not_bypass_the_check(envoy_gateway: Proxy, tls_name: str) -> None:
    asked = request_bytes("GET", "/page", envoy_gateway.portal.host("app"), FETCH)
    reply = envoy_gateway.send(asked, tls_name=tls_name)

    assert reply is not None and reply.status in (401, 404, 421)
    assert envoy_gateway.backend.take() == []


def test_a_page_of_an_api_is_not_redirected(envoy_gateway: Proxy) -> None:
    reply = envoy_gateway.ask("/api/page", headers=NAVIGATION)

    assert (reply.status, reply.header("Location")) == (401, "")
    assert envoy_gateway.backend.take() == []


@pytest.mark.parametrize(
    "name", ["X-Envoy-Original-Path", "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Forwarded-Port"]
)
def test_clients_cannot_set_envoys_own_headers(envoy_gateway: Proxy, name: str) -> None:
    envoy_gateway.ask("/page", headers=FETCH | {name: "4711"}, who="alice")

    [received] = envoy_gateway.backend.take()
    assert b"4711" not in received.head


@pytest.mark.parametrize(
    "path", ["/authgate/envoy/page", "/authgate/traefik", "/OAuth2/auth", "/authgate%2Fnginx", "//authgate/x"]
)
def test_the_portals_site_hides_its_checks(envoy_gateway: Proxy, path: str) -> None:
    asked = request_bytes("GET", path, envoy_gateway.portal.host("portal"), FETCH)
    reply = envoy_gateway.send(asked)

    assert reply is not None and reply.status == 404


def test_the_portals_pages_are_reached(envoy_gateway: Proxy) -> None:
    asked = request_bytes("GET", "/accounts/login/", envoy_gateway.portal.host("portal"), NAVIGATION)
    reply = envoy_gateway.send(asked)

    assert reply is not None and reply.status == 200
