"""Behind a real proxy, too, memory answers a repeated check."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.behaviour import FETCH
from tests.front.serving import eventually
from tests.proxies.conftest import METRICS_TOKEN
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.wire import PATIENCE

pytestmark = pytest.mark.proxy

CHECKS = 25


@dataclass(frozen=True, slots=True)
class Counted:
    """The counters that the portal's workers published last. During checks, they publish every second."""

    checks: int
    from_memory: int


def counted(portal: Portal) -> Counted:
    connection = http.client.HTTPConnection(portal.bind, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}", "Host": portal.host("portal")}
    connection.request("GET", "/metrics", headers=headers)
    told = connection.getresponse().read().decode()
    connection.close()
    checks, from_memory = (
        sum(map(int, re.findall(rf"(?m)^ikd_checks_{name}total(?:{{.*}})? (\d+)$", told)))
        for name in ("", "from_memory_")
    )
    return Counted(checks, from_memory)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_checks_are_answered_from_memory(proxy: Proxy, method: str) -> None:
    asked: dict[str, Any] = {"who": "alice", "method": method, "headers": FETCH}
    before = counted(proxy.portal)
    statuses = {proxy.ask("/page", **asked).status for _ in range(CHECKS)}

    def all_are_counted() -> bool:
        statuses.add(proxy.ask("/page", **asked).status)
        return counted(proxy.portal).checks - before.checks > CHECKS

    assert eventually(all_are_counted)
    after = counted(proxy.portal)
    assert statuses == {200}
    assert after.from_memory - before.from_memory > (after.checks - before.checks) / 2
