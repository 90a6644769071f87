"""The mistakes that docs/nginx.md and docs/traefik.md warn of end as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.behaviour import NAVIGATION
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
