"""The mistakes that docs/nginx.md and docs/traefik.md warn of end as they say."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.behaviour import NAVIGATION
from tests.front.serving import eventually
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import free_port
from tests.proxies.proxy import DEPLOY, Proxy
from tests.proxies.registry import STARTERS
from tests.proxies.substitution import substituted

pytestmark = pytest.mark.proxy


def start_with_mistake(
    name: str, portal: Portal, backend: Backend, folder: Path, mistake: dict[str, str], *, portal_at: str = ""
) -> Proxy:
    """Start a proxy with a copy of deploy/ in which somebody made a mistake."""
    copy, source = folder / "deploy", DEPLOY / name
    for path in (path for path in source.rglob("*") if path.is_file()):
        text, target = path.read_text(), copy / name / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        found = {old: new for old, new in mistake.items() if old in text}
        target.write_text(substituted(text, found))
    running = folder / "running"
    running.mkdir()
    return STARTERS[name](portal, backend, running, portal_at=portal_at, loopback="127.0.0.5", shipped=copy)


def test_a_query_in_auth_request_lets_nobody_in(portal: Portal, backend: Backend, tmp_path: Path) -> None:
    mistake = {"auth_request /authgate/nginx/staff;": "auth_request /authgate/nginx?allowed_groups=staff;"}
    nginx = start_with_mistake("nginx", portal, backend, tmp_path, mistake)
    try:
        replies = [nginx.ask("/staff/rota", headers=NAVIGATION, who=who) for who in ("", "alice", "bob")]
    finally:
        nginx.server.stop()

    assert [reply.status for reply in replies] == [503, 503, 503]
    assert "auth request unexpected status: 404" in nginx.server.log.read_text()
    assert backend.take() == []


def test_a_port_that_nobody_typed_is_an_unknown_origin(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"default   :$server_port;": f"default   :{free_port()};"}
    nginx = start_with_mistake("nginx", portal, backend, tmp_path, mistake)
    try:
        reply = nginx.ask("/page", headers=NAVIGATION, who="alice")
    finally:
        nginx.server.stop()

    assert reply.status == 403
    assert backend.take() == []


def test_a_middleware_that_is_not_there_leaves_the_site_out(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"middlewares: [ikd]": "middlewares: [ikd-chain]"}
    traefik = start_with_mistake("traefik", portal, backend, tmp_path, mistake)
    try:
        reply = traefik.ask("/page", headers=NAVIGATION, who="alice")
    finally:
        traefik.server.stop()

    assert (reply.status, reply.body) == (404, b"404 page not found\n")
    assert 'middleware \\"ikd-chain@file\\" does not exist' in traefik.server.log.read_text()
    assert backend.take() == []


SCHEME = "proxy_set_header X-Forwarded-Proto $scheme;\n"
HOST = "proxy_set_header X-Forwarded-Host $host$ikd_port;\n"
URI = "proxy_set_header X-Forwarded-Uri $request_uri;\n"
FOR = "proxy_set_header X-Forwarded-For $remote_addr;     # behind"
PROXY_PASS = "proxy_pass http://ikd-portal/authgate/nginx;"
ADDRESS = "address: http://127.0.0.1:8000/authgate/traefik\n        trust"
REFUSED = {
    "nginx: Envoy's contract": ("nginx", {PROXY_PASS: PROXY_PASS.replace("nginx;", "envoy;")}, 503, ""),
    "nginx: ingress-nginx's contract": (
        "nginx",
        {PROXY_PASS: PROXY_PASS.replace("nginx;", "ingress-nginx;")},
        403,
        "ingress-nginx: x-original-method missing",
    ),
    "nginx: without the page asked for": (
        "nginx",
        {f"{URI}{FOR}": FOR},
        403,
        "nginx: x-forwarded-uri missing",
    ),
    "nginx: without the client's address": (
        "nginx",
        {FOR: "# behind"},
        400,
        "nginx: x-forwarded-for missing",
    ),
    "nginx: a scheme lost behind a load balancer": (
        "nginx",
        {f"{SCHEME}{HOST}{URI}": f"proxy_set_header X-Forwarded-Proto http;\n{HOST}{URI}"},
        403,
        "nginx: unknown origin",
    ),
    "nginx: the browser's query merged": (
        "nginx",
        {PROXY_PASS: "proxy_pass http://ikd-portal/authgate/nginx?$args&x=1;"},
        403,
        "nginx: unknown parameter in the check's URL",
    ),
    "traefik: ingress-nginx's contract": (
        "traefik",
        {ADDRESS: ADDRESS.replace("/traefik\n", "/ingress-nginx\n")},
        403,
        "ingress-nginx: x-original-method missing",
    ),
    "traefik: Envoy's contract": (
        "traefik",
        {ADDRESS: ADDRESS.replace("/traefik\n", "/envoy\n")},
        400,
        "envoy: request target",
    ),
    "traefik: oauth2-proxy's contract for nginx": (
        "traefik",
        {ADDRESS: ADDRESS.replace("/authgate/traefik\n", "/oauth2/auth\n")},
        403,
        "oauth2 nginx: x-scheme missing",
    ),
    "traefik: an empty filter": (
        "traefik",
        {ADDRESS: ADDRESS.replace("/traefik\n", "/traefik?allowed_groups=\n")},
        403,
        "traefik: allowed_groups empty",
    ),
    "traefik: a page to go to in the check's URL": (
        "traefik",
        {ADDRESS: ADDRESS.replace("/traefik\n", "/traefik?rd=https://app.example.com/\n")},
        403,
        "traefik: unknown parameter in the check's URL",
    ),
    "traefik: another entry point's port": (
        "traefik",
        {ADDRESS: ADDRESS.replace("/traefik\n", "/traefik?port=1\n")},
        400,
        "traefik: port of x-forwarded-host is not the one in the check's URL",
    ),
    "traefik: headers of the client's held back": (
        "traefik",
        {ADDRESS: ADDRESS.replace("trust", 'authRequestHeaders: ["Accept"]\n        trust')},
        302,
        "",
    ),
}
"""Which proxy, what is changed in its files, what everybody gets, and the event that is seen."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_check_that_is_set_up_wrongly_lets_nobody_in(
    name: str, portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    proxy_name, mistake, status, event = REFUSED[name]
    told_before = times_told(portal, event)
    proxy = start_with_mistake(proxy_name, portal, backend, tmp_path, mistake)
    try:
        replies = [proxy.ask("/page", headers=NAVIGATION, who=who) for who in ("", "alice")]
    finally:
        proxy.server.stop()

    assert [reply.status for reply in replies] == [status, status]
    assert backend.take() == []
    assert not event or eventually(lambda: times_told(portal, event) > told_before)


def times_told(portal: Portal, event: str) -> int:
    """Give how often the administrator was told of it: the contract, and the reason."""
    ask = "SELECT count FROM authgate_configurationevent WHERE contract || ': ' || reason = ?"
    with closing(sqlite3.connect(portal.server.log.with_name("ikd.sqlite3"))) as database:
        return sum(count for (count,) in database.execute(ask, [event]))
