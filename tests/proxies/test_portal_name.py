"""If a proxy serves an application under any host, the portal's host does not open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import Events, mistaken
from tests.proxies.portal import Portal

pytestmark = pytest.mark.proxy

ANY_NAME = {
    "nginx": {
        "listen 443 ssl default_server; ": "listen 443 ssl; ",
        "server_name _;\n    ssl_reject": "server_name nobody.invalid;\n    ssl_reject",
        "server_name sso.example.com; ": "server_name x-sso.example.com; ",
        "listen 443 ssl;\n    server_name app": "listen 443 ssl default_server;\n    server_name app",
    },
    "traefik": {
        "Host(`sso.example.com`)": "Host(`x-sso.example.com`)",
        "rule: Host(`app.example.com`)\n": "rule: HostRegexp(`.*`)\n",
    },
    "caddy": {
        "https://sso.example.com {": "(portal_elsewhere) {",
        "https://app.example.com {": "https://app.example.com, https://sso.example.com {",
    },
    "haproxy": {
        "acl is_portal var(txn.ikd_name) -m str sso": "acl is_portal var(txn.ikd_name) -m str x-sso",
        "acl is_app    var(txn.ikd_name) -m str": "acl is_app    var(txn.ikd_name) -m found #",
    },
    "envoy": {
        "domains: [sso.example.com] ": 'domains: ["x.invalid"]  # domains: [sso.example.com]',
        "domains: [app.example.com]": 'domains: ["*"]  # domains: [app.example.com]',
    },
}
"""The configuration of an administrator with the portal elsewhere: its host leads to an application."""


@pytest.mark.parametrize("name", ANY_NAME)
def test_the_portals_host_opens_no_application(
    name: str, portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    events = Events(portal)
    with mistaken(name, ANY_NAME[name], portal, backend, tmp_path) as proxy:
        known = proxy.ask("/page", headers=FETCH, who="alice")
        assert (known.status, len(backend.take())) == (200, 1)
        replies = [
            proxy.ask(path, site="portal", headers=headers)
            for path in ("/page", "/accounts/login/")
            for headers in (NAVIGATION, FETCH)
        ]

    assert [reply.status for reply in replies] == [403] * len(replies)
    assert backend.take() == []
    assert events.report(f"{name}: the portal's own origin", portal.origin("portal"))
