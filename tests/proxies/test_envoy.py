"""Envoy only: the headers that it sends to the portal, and those that it accepts from it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml

from ikd_portal import gunicorn_conf
from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.envoy import start_envoy
from tests.proxies.portal import Portal
from tests.proxies.proxy import DEPLOY, Proxy
from tests.proxies.stub import Stub

pytestmark = pytest.mark.proxy

FILES = ("minimal.yaml", "complete.yaml")
ALLOWED = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n"
TOLD = {
    "Cookie": "a=b",
    "Authorization": "Basic eDp5",
    "Accept-Language": "zh",
    "User-Agent": "a browser",
    "X-Requested-With": "XMLHttpRequest",
    "Sec-Purpose": "prefetch",
    "Sec-WebSocket-Key": "AAAA",
    "Origin": "https://evil.example",
    "Referer": "https://app.example.com/elsewhere",
    **NAVIGATION,
}
IDENTITY = (
    "X-Auth-Request-User",
    "X-Auth-Request-Access-Token",
    "Remote-User",
    "Remote-Name",
    "X-Forwarded-User",
    "X-Ikd-Jwt",
)


@pytest.fixture(scope="module")
def beside(
    portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, Stub]]:
    """Return Envoy in front of a stub instead of the portal."""
    with closing(Stub()) as stub:
        folder = tmp_path_factory.mktemp("envoy-stub")
        proxy = start_envoy(portal, backend, folder, portal_at=stub.bind, loopback="127.0.0.7")
        yield proxy, stub
        proxy.server.stop()


def test_the_portal_receives_only_the_headers_that_it_reads(beside: tuple[Proxy, Stub]) -> None:
    proxy, stub = beside
    envoys_own = {
        "Host": proxy.portal.host("app"),
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "127.0.0.1",
        "Content-Length": "0",
    }

    proxy.ask("/page?x=%23", method="DELETE", headers=TOLD | {"X-Other": "x", "TE": "trailers"})

    told = stub.asked[-1]
    heard = {(name.lower(), value) for name, value in told.headers if not name.startswith("x-envoy-")}
    assert told.request_line == "DELETE /authgate/envoy/page?x=%23 HTTP/1.1"
    assert heard == {(name.lower(), value) for name, value in (TOLD | envoys_own).items()}


def test_checks_of_an_api_count_as_scripts(beside: tuple[Proxy, Stub]) -> None:
    proxy, stub = beside

    proxy.ask("/api/items", headers=NAVIGATION)

    assert stub.asked[-1].all("Sec-Fetch-Mode") == ["cors"]


@pytest.mark.parametrize("path", ["/page", "/api/items"])
@pytest.mark.parametrize("name", IDENTITY)
def test_the_application_receives_every_identity_header_of_the_portal(
    beside: tuple[Proxy, Stub], name: str, path: str
) -> None:
    proxy, stub = beside
    stub.answer = ALLOWED.format(f"{name}: alice\r\nSet-Cookie: no=1\r\nX-Other: no\r\n").encode()

    reply = proxy.ask(path, headers=FETCH | {name: "mallory"})

    [received] = proxy.backend.take()
    assert received.all(name) == ["alice"]
    assert received.all("X-Other") == []
    assert reply.all("Set-Cookie") == ["theme=dark; Path=/"]


def test_the_portal_can_remove_a_credential(beside: tuple[Proxy, Stub]) -> None:
    """An application must not receive a credential for the portal."""
    proxy, stub = beside
    stub.answer = ALLOWED.format("X-Envoy-Auth-Headers-To-Remove: authorization\r\n").encode()

    proxy.ask("/page", headers=FETCH | {"Authorization": "Bearer ikd_secret"})

    [received] = proxy.backend.take()
    assert received.all("Authorization") == []
    assert b"x-envoy" not in received.head.lower()


def test_a_credential_for_the_portal_does_not_reach_the_application(beside: tuple[Proxy, Stub]) -> None:
    proxy, stub = beside
    stub.answer = ALLOWED.format("X-Auth-Credential: portal\r\n").encode()

    proxy.ask("/page", headers=FETCH | {"Authorization": "Bearer eyJ.e30.c2ln"})

    [received] = proxy.backend.take()
    assert received.all("Authorization") == received.all("X-Auth-Credential") == []


TOKEN = f"ikd_{'0aZ' * 16}9"


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {TOKEN}",
        f"bEARER  {TOKEN}",
        "Bearer ikd_short",
        f"Token {TOKEN}",
        TOKEN,
        f"Basic {b64encode(f':{TOKEN}'.encode()).decode()}",
        f"Basic {b64encode(f'a:{TOKEN}'.encode()).decode()}",
        f"basic {b64encode(f'ab:{TOKEN}'.encode()).decode()}",
    ],
)
@pytest.mark.parametrize("path", ["/public/logo.png", "/page"])
def test_an_api_token_reaches_no_application(beside: tuple[Proxy, Stub], path: str, value: str) -> None:
    proxy, stub = beside
    stub.answer = ALLOWED.format("").encode()

    proxy.ask(path, headers=[*FETCH.items(), ("Authorization", value)])

    [received] = proxy.backend.take()
    assert received.all("Authorization") == []


@pytest.mark.parametrize(
    "value", ["Basic eDp5", "Bearer eyJhIjoxfQ.e30.c2ln", "Bearer xikd_", "ikd_", "Digest ikd_x", "Basic"]
)
@pytest.mark.parametrize("path", ["/public/logo.png", "/page"])
def test_an_applications_own_authorization_arrives(beside: tuple[Proxy, Stub], path: str, value: str) -> None:
    proxy, stub = beside
    stub.answer = ALLOWED.format("").encode()

    proxy.ask(path, headers=[*FETCH.items(), ("Authorization", value), ("X-Auth-Credential", "portal")])

    [received] = proxy.backend.take()
    assert received.all("Authorization") == [value]


def test_the_browser_receives_a_refusal_unchanged(beside: tuple[Proxy, Stub]) -> None:
    proxy, stub = beside
    headers = [
        "Location: /x",
        "Set-Cookie: a=b",
        "Set-Cookie: c=d",
        "WWW-Authenticate: x",
        "X-Auth-Decision: 1",
    ]
    head = "\r\n".join(["HTTP/1.1 302 Found", "Content-Length: 4", *headers])
    stub.answer = f"{head}\r\n\r\nbody".encode()

    reply = proxy.ask("/page", headers=NAVIGATION)

    assert (reply.status, reply.body) == (302, b"body")
    assert reply.header("Location") == "/x"
    assert reply.all("Set-Cookie") == ["a=b", "c=d"]
    assert reply.header("X-Auth-Decision") == "1"


@pytest.mark.parametrize("path", ["/page", "/public/logo.png"])
@pytest.mark.parametrize("name", ["X-Envoy-Original-Path", "X-Envoy-External-Address", "X-Forwarded-Port"])
def test_clients_cannot_set_envoys_own_headers(envoy: Proxy, name: str, path: str) -> None:
    envoy.ask(path, headers=FETCH | {name: "mallory"}, who="alice")

    [received] = envoy.backend.take()
    assert b"mallory" not in received.head


def bootstrap(file: str) -> Any:
    return yaml.safe_load((DEPLOY / "envoy" / file).read_text())["static_resources"]


def virtual_hosts(file: str) -> list[Any]:
    [https] = [each for each in bootstrap(file)["listeners"] if each["name"] == "https"]
    hosts: list[Any] = https["filter_chains"][0]["filters"][0]["typed_config"]["route_config"][
        "virtual_hosts"
    ]
    return hosts


@pytest.mark.parametrize("file", FILES)
def test_long_requests_are_not_cut_off(file: str) -> None:
    """Envoy's default limit of 15 seconds applies to uploads, downloads and WebSockets, too."""
    routes = [each["route"] for host in virtual_hosts(file) for each in host["routes"] if "route" in each]

    assert routes
    assert {route["timeout"] for route in routes} == {"0s"}


@pytest.mark.parametrize("file", FILES)
def test_envoy_closes_idle_connections_before_the_portal_does(file: str) -> None:
    """Otherwise, a check may use a connection that is being closed, and its page gets 503."""
    [portal] = [each for each in bootstrap(file)["clusters"] if each["name"] == "ikd-portal"]
    options = portal["typed_extension_protocol_options"][
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ]
    seconds = options["common_http_protocol_options"]["idle_timeout"].removesuffix("s")

    assert int(seconds) < gunicorn_conf.keepalive


@pytest.mark.parametrize("file", FILES)
def test_only_routes_marked_as_public_are_unchecked(file: str) -> None:
    unchecked = [
        f"{host['name']} {next(iter(route['match'].values()))}"
        for host in virtual_hosts(file)
        for route in host["routes"]
        if is_unchecked(host) or is_unchecked(route)
        if "route" in route
    ]

    public = ["app {'regex': '/public/[^%;\\\\\\\\]*'}"] if file == "complete.yaml" else []
    sites = ("app", "wiki", "ops") if public else ("app",)
    portal = "portal {'regex': '/[^%;\\\\\\\\]*'}"
    assert sorted(unchecked) == sorted([portal, *public, *(f"{site} /authgate/userinfo" for site in sites)])


def is_unchecked(where: Any) -> bool:
    return bool(where.get("typed_per_filter_config", {}).get("ikd-check", {}).get("disabled"))
