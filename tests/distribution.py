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
"""Long files with nothing to share among their tests: each test is a unit."""

PAGE_GROUPS = 4
"""Units into which the visits of tests/browser/test_every_page.py are divided."""

SECONDS = {
    "keycloak": 256,
    "several": 232,
    "tests/delegation/test_every_url.py": 182,
    "built by go": 180,
    "tests/doctor/test_mistakes.py": 126,
    "tests/faults/test_faults.py": 91,
    "tests/browser/test_story.py": 74,
    "tests/front/test_reload.py": 64,
    "tests/delegation/test_reviews_in_the_server.py": 64,
    "tests/feed/test_revocation.py": 62,
    "tests/openid/test_tokens.py": 59,
    "tests/install/test_installed.py": 55,
    **{f"pages {number}": 55 for number in range(PAGE_GROUPS)},
    "tests/front/test_connections.py": 53,
    "tests/demo/test_later_runs.py": 51,
    **{f"tests/proxies [{proxy}]": 50 for proxy in STARTERS},
    "tests/years/test_migrations.py": 49,
    "tests/faults/test_outages.py": 46,
    "tests/upstreams/test_busy_minute.py": 45,
    "tests/years/test_copies.py": 45,
    "tests/front/test_heads.py": 43,
    "tests/feed/test_migrations.py": 43,
    "tests/openid/test_real_server.py": 42,
    "tests/demo/test_first_run.py": 42,
    "tests/openid/test_idle.py": 42,
    "tests/upstreams/test_real_servers.py": 41,
    "tests/openid/test_logout.py": 39,
    "tests/years/test_year.py": 39,
    "tests/upstreams/test_claim_texts.py": 39,
    "tests/origins/test_frames.py": 36,
    "tests/demo/test_proxies.py": 33,
    "tests/journal/test_undo_of_every_kind.py": 32,
    "tests/front/test_pages.py": 32,
    "tests/several/test_upgrade.py": 31,
    "tests/journal/test_past.py": 30,
    "tests/origins/test_two_ports.py": 28,
    "tests/install/test_systemd.py": 28,
    "tests/traces/test_collector_away.py": 28,
    "tests/test_behaviour.py": 27,
    "tests/several/test_overload.py": 27,
    "tests/browser/test_passkeys.py": 26,
    "tests/openid/test_client_attention.py": 26,
    "tests/openid/test_client_express.py": 26,
    "tests/admin/test_deletion.py": 26,
    "tests/origins/test_recipes.py": 25,
    "tests/front/test_read_only.py": 25,
    "cas browser": 25,
    "tests/browser/test_lists.py": 23,
    "tests/openid/test_authorize.py": 23,
    "tests/openid/test_usage.py": 22,
    "tests/proxies/test_ingress_nginx_mistakes.py": 22,
    "tests/openid/test_client_mod_auth_openidc.py": 22,
    "tests/upstreams/test_two_providers.py": 22,
    "tests/logs/test_server.py": 22,
    "tests/fuzzing/test_fuzzing.py": 22,
    "tests/openid/test_device.py": 21,
    "tests/admin/test_applications.py": 21,
    "tests/delegation/test_access_reviews.py": 21,
    "proxies at a socket": 20,
    "tests/usage/test_removals.py": 19,
    "tests/openid/test_client_portal.py": 19,
    "tests/front/test_limits.py": 19,
    "tests/openid/test_any_parameters.py": 18,
    "tests/accounts/test_foreign_identifiers.py": 18,
    "tests/proxies/test_traefik_mistakes.py": 18,
    "tests/admin/test_staff_and_superusers.py": 18,
    "tests/proxies/test_envoy_mistakes.py": 17,
    "tests/proxies/test_nginx_mistakes.py": 17,
    "tests/browser/test_launcher.py": 17,
    "tests/upstreams/test_backchannel.py": 17,
    "tests/browser/test_password_strength.py": 17,
    "tests/openid/test_costs.py": 16,
    "tests/proxies/test_caddy_mistakes.py": 16,
    "tests/openid/test_sign_out_proof.py": 16,
    "tests/proxies/test_haproxy_mistakes.py": 16,
    "tests/effect/test_confirmation.py": 16,
    "tests/several/test_first_start.py": 15,
    "proxies before a silent portal": 10,
    "tests/authgate/test_contracts.py": 9,
    "tests/authgate/test_start.py": 7,
}
"""Seconds of the units that take longer than their number of tests suggests. The order matters."""

SECONDS_A_TEST = 0.1
SECONDS_OF_A_START = 8
"""Additional seconds for a unit in a folder that starts servers."""
SECONDS_OF_A_FORM = 32
"""The longest time of a test of NOTHING_SHARED."""


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
