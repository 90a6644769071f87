"""Divide the tests among pytest-xdist's workers: a module stays in one process, and long units begin first.

`--dist loadgroup` alone sends each test to the next free worker. Two neighbours of a module then run in two
processes, and both start the module's servers.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

from tests.proxies.registry import STARTERS

OF_ONE_PROXY = re.compile(rf"tests/proxies/.*\[({'|'.join(STARTERS)})[-\]]")

NOTHING_SHARED = ("tests/accounts/test_bad_input.py",)
"""Long files whose tests share nothing worth keeping: each test is a unit."""

SECONDS = {
    "tests/browser/test_every_page.py": 300,
    "tests/faults/test_faults.py": 250,
    "tests/proxies [envoy]": 170,
    "tests/origins/test_recipes.py": 150,
    "keycloak": 160,
    "tests/front/test_pages.py": 160,
    "demo": 160,
    "tests/origins/test_frames.py": 140,
    "tests/proxies [caddy]": 130,
    "tests/proxies [traefik]": 105,
    "tests/proxies [haproxy]": 104,
    "tests/several/test_failures.py": 100,
    "tests/proxies [nginx]": 103,
    "tests/feed/test_revocation.py": 75,
    "tests/proxies [ingress_nginx]": 57,
    "tests/feed/test_changes.py": 53,
    "tests/feed/test_migrations.py": 52,
    "tests/proxies/test_traefik_mistakes.py": 45,
    "tests/front/test_connections.py": 43,
    "tests/front/test_limits.py": 35,
    "tests/upstreams/test_real_servers.py": 32,
    "tests/demo/test_portal_alone.py": 32,
    "tests/front/test_lookups.py": 31,
    "tests/front/test_read_only.py": 30,
    "cas browser": 29,
    "tests/accounts/test_large_accounts.py": 27,
    "tests/upstreams/test_busy_minute.py": 24,
    "tests/upstreams/test_two_providers.py": 24,
}
"""Units that take longer than their number of tests suggests, in seconds; their order counts."""

SECONDS_A_TEST = 0.1
SECONDS_OF_A_FORM = 40
"""What a test of NOTHING_SHARED takes at most."""


def unit_of(test: str) -> str:
    """Return the unit of a test: its xdist_group, its proxy in tests/proxies, or its file."""
    if test.rfind("@") > test.rfind("]"):
        return test.rpartition("@")[2]
    if proxy := OF_ONE_PROXY.match(test):
        return f"tests/proxies [{proxy[1]}]"
    file = test.partition("::")[0]
    return test if file in NOTHING_SHARED else file


def seconds_of(unit: str, number_of_tests: int) -> float:
    if unit.startswith(NOTHING_SHARED):
        return SECONDS_OF_A_FORM
    return SECONDS.get(unit) or SECONDS_A_TEST * number_of_tests


class LongestFirst(LoadGroupScheduling):
    """Send a free worker the longest unit that is left."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=lambda unit: seconds_of(unit, len(self.workqueue[unit])))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)
