"""Divide the tests among pytest-xdist's workers: a module stays in one process, and long units begin first.

`--dist loadgroup` alone sends each test to the next free worker. Two neighbours of a module then run in two
processes, and both start the module's servers.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

from tests.proxies.registry import STARTERS
from tests.quick import FOLDERS_OF_SERVERS

OF_ONE_PROXY = re.compile(rf"tests/proxies/.*\[({'|'.join(STARTERS)})[-\]]")

NOTHING_SHARED = ("tests/accounts/test_bad_input.py",)
"""Long files whose tests share nothing worth keeping: each test is a unit."""

PAGE_GROUPS = 4
"""Units into which the visits of tests/browser/test_every_page.py are divided."""

SECONDS = {
    "keycloak": 180,
    "tests/delegation/test_every_url.py": 139,
    "several": 120,
    "built by go": 110,
    "tests/doctor/test_mistakes.py": 90,
    "tests/faults/test_faults.py": 85,
    "tests/browser/test_story.py": 81,
    **{f"pages {number}": 50 for number in range(PAGE_GROUPS)},
    **{f"tests/proxies [{proxy}]": 50 for proxy in STARTERS},
    "tests/front/test_connections.py": 49,
    "tests/install/test_installed.py": 47,
    "tests/openid/test_real_server.py": 46,
    "tests/faults/test_outages.py": 45,
    "tests/feed/test_revocation.py": 45,
    "tests/several/test_overload.py": 35,
    "tests/several/test_upgrade.py": 35,
    "tests/demo/test_later_runs.py": 35,
    "tests/years/test_copies.py": 33,
    "tests/openid/test_logout.py": 31,
    "tests/openid/test_client_portal.py": 30,
    "tests/journal/test_past.py": 30,
    "tests/demo/test_proxies.py": 30,
    "tests/upstreams/test_busy_minute.py": 29,
    "tests/front/test_pages.py": 29,
    "tests/origins/test_frames.py": 29,
    "cas browser": 29,
    "tests/feed/test_migrations.py": 26,
    "tests/proxies/test_ingress_nginx_mistakes.py": 23,
    "tests/demo/test_first_run.py": 25,
    "tests/logs/test_server.py": 23,
    "tests/openid/test_client_mod_auth_openidc.py": 21,
    "tests/origins/test_recipes.py": 21,
    "tests/origins/test_two_ports.py": 20,
    "tests/upstreams/test_real_servers.py": 20,
    "proxies at a socket": 20,
    "tests/several/test_first_start.py": 20,
    "tests/openid/test_client_express.py": 20,
    "tests/openid/test_client_oidc_client_ts.py": 20,
    "tests/proxies/test_rewritten_paths.py": 20,
    "tests/front/test_limits.py": 19,
    "tests/years/test_year.py": 19,
    "tests/years/test_migrations.py": 18,
    "tests/openid/test_openid_client.py": 18,
    "tests/proxies/test_envoy_mistakes.py": 18,
    "tests/proxies/test_traefik_mistakes.py": 18,
    "tests/proxies/test_haproxy_mistakes.py": 18,
    "tests/browser/test_fragments.py": 17,
    "tests/proxies/test_nginx_mistakes.py": 17,
    "tests/feed/test_changes.py": 17,
    "tests/openid/test_any_parameters.py": 17,
    "tests/proxies/test_caddy_mistakes.py": 16,
    "tests/explain/test_same_as_check.py": 15,
    "tests/admin/test_applications.py": 14,
    "tests/openid/test_migrations.py": 10,
    "tests/configuration_file/test_export.py": 10,
    "tests/effect/test_confirmation.py": 10,
    "proxies before a silent portal": 10,
}
"""Units that take longer than their number of tests suggests, in seconds; their order counts."""

SECONDS_A_TEST = 0.1
SECONDS_OF_A_START = 8
"""What a unit takes whose folder starts servers, besides its tests."""
SECONDS_OF_A_FORM = 17
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
    start = SECONDS_OF_A_START if FOLDERS_OF_SERVERS.intersection(unit.split("/")[1:2]) else 0
    return SECONDS.get(unit) or SECONDS_A_TEST * number_of_tests + start


class LongestFirst(LoadGroupScheduling):
    """Send a free worker the longest unit that is left."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def schedule(self) -> None:
        first = next(iter(self.registered_collections.values()))
        self._index_of = {test: index for index, test in enumerate(first)}
        super().schedule()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Forget a test that has run: xdist would count all that have run, several times for each test."""
        test = self.registered_collections[node][item_index]
        unit = self._split_scope(test)
        left = self.assigned_work[node][unit]
        del left[test]
        if not left:
            del self.assigned_work[node][unit]
        self._reschedule(node)

    def _pending_of(self, workload: dict[str, dict[str, bool]]) -> int:
        return sum(map(len, workload.values()))

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=lambda unit: seconds_of(unit, len(self.workqueue[unit])))
        tests = self.workqueue.pop(longest)
        self.assigned_work.setdefault(node, {})[longest] = tests
        node.send_runtest_some([self._index_of[test] for test in tests])
