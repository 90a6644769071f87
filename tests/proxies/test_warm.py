"""Through a real proxy too, a check that comes again is answered from memory, at the front."""

from __future__ import annotations

import http.client
import re
import time
from typing import Any

import pytest

from tests.behaviour import FETCH
from tests.proxies.conftest import METRICS_TOKEN
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.wire import PATIENCE

pytestmark = pytest.mark.proxy

CHECKS, PAUSE = 25, 0.1
"""Spread over seconds: workers publish their counters every second, while checks come in."""


def answered_from_memory(portal: Portal) -> int:
    """Return the last published counter."""
    connection = http.client.HTTPConnection(portal.bind, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}", "Host": portal.host("portal")}
    connection.request("GET", "/metrics", headers=headers)
    told = connection.getresponse().read().decode()
    connection.close()
    return sum(map(int, re.findall(r"(?m)^ikd_checks_from_memory_total (\d+)$", told)))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_checks_are_answered_from_memory(proxy: Proxy, method: str) -> None:
    asked: dict[str, Any] = {"who": "alice", "method": method, "headers": FETCH}
    for _ in range(CHECKS // 2):
        proxy.ask("/page", **asked)
        time.sleep(PAUSE)
    before = answered_from_memory(proxy.portal)

    replies = []
    for _ in range(CHECKS):
        replies.append(proxy.ask("/page", **asked))
        time.sleep(PAUSE)

    assert {reply.status for reply in replies} == {200}
    assert answered_from_memory(proxy.portal) - before > CHECKS // 2
