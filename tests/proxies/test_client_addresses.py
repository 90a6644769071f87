"""The client's address, as each proxy sends it for each kind of peer, and as load balancers write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.behaviour import FETCH
from tests.proxies.backend import Backend
from tests.proxies.mistakes import Events, mistaken
from tests.proxies.portal import Portal
from tests.proxies.registry import STARTERS

pytestmark = pytest.mark.proxy


@pytest.mark.parametrize("name", STARTERS)
def test_a_client_on_ipv6_has_its_own_address(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    with mistaken(name, {}, portal, backend, tmp_path, loopback="[::1]") as proxy:
        page = proxy.ask("/page", headers=FETCH, who="alice")
        refused = proxy.ask("/office", headers=FETCH, who="alice")

    assert (page.status, refused.status) == (200, 403)
    assert events.name_a_refused_client("::1")


BEHIND_A_BALANCER = {
    "nginx": {
        "include ikd/http.conf;": (
            "include ikd/http.conf;\nset_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;"
        )
    },
    "haproxy": {
        "    # Removes every identity header": (
            '    http-request set-src \'req.hdr(x-forwarded-for,-1),regsub("^\\[|\\].*$",,g),'
            'regsub("^([0-9.]+):[0-9]+$","\\1")\'\n    # Removes every identity header'
        )
    },
    "caddy": {
        "protocols h1 h2": (
            "protocols h1 h2\n\t\ttrusted_proxies static 127.0.0.1/32\n\t\ttrusted_proxies_strict"
        )
    },
}
"""The configuration for a load balancer in front, from the page of each proxy."""

AS_BALANCERS_WRITE = ("203.0.113.7", "203.0.113.7:41234", "::ffff:203.0.113.7", "[::ffff:203.0.113.7]:41234")


@pytest.mark.parametrize("name", BEHIND_A_BALANCER)
def test_a_network_rule_accepts_each_form_of_a_load_balancers_address(
    name: str, portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    with mistaken(name, BEHIND_A_BALANCER[name], portal, backend, tmp_path) as proxy:
        statuses = {
            written: proxy.ask("/office", headers=FETCH | {"X-Forwarded-For": written}, who="alice").status
            for written in AS_BALANCERS_WRITE
        }

    assert statuses == dict.fromkeys(AS_BALANCERS_WRITE, 200)
