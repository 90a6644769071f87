"""Which tests `make quick` leaves out: tests that start servers, and tests that take long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from types import ModuleType

import pytest

FOLDERS_OF_SERVERS = frozenset(
    (
        *("browser", "clients", "demo", "faults", "feed", "front", "install", "kubernetes"),
        *("logs", "origins", "proxies", "published", "years"),
    )
)
STARTS_SERVERS = frozenset(("Cluster", "Demo", "Portal", "Proxy", "start_portal", "sync_playwright"))
"""Names that start servers. A module with one of them counts as starting servers."""

FIXTURES_OF_SERVERS = frozenset(("cluster", "redis"))

LONG = frozenset(
    (
        "tests/accounts/test_bad_input.py",
        "tests/accounts/test_large_accounts.py",
        "tests/admin/test_attention.py",
        "tests/admin/test_deletion.py",
        "tests/admin/test_openid_clients.py",
        "tests/admin/test_staff_and_superusers.py",
        "tests/authgate/test_decision_properties.py",
        "tests/authgate/test_fuzz.py",
        "tests/configuration_file/test_drift.py",
        "tests/conversion/test_authelia_properties.py",
        "tests/delegation/test_access_reviews.py",
        "tests/delegation/test_every_url.py",
        "tests/effect/test_confirmation.py",
        "tests/explain/test_access.py",
        "tests/fuzzing/test_fuzzing.py",
        "tests/fuzzing/test_heads.py",
        "tests/journal/test_pages.py",
        "tests/journal/test_undo.py",
        "tests/journal/test_undo_of_every_kind.py",
        "tests/memberships/test_pages.py",
        "tests/openid/test_any_parameters.py",
        "tests/openid/test_client_attention.py",
        "tests/openid/test_preview.py",
        "tests/openid/test_sign_out_proof.py",
        "tests/second_factor/test_own_factors.py",
        "tests/upstreams/test_backchannel.py",
        "tests/upstreams/test_provider_sign_out.py",
        "tests/upstreams/test_recheck.py",
        "tests/usage/test_removals.py",
    )
)
"""Files in which every test takes long. In other files, tests that take long have the marker `long`."""

FIRST_ROWS = frozenset(
    (
        "tests/accounts/test_access_requests.py",
        "tests/accounts/test_api_tokens.py",
        "tests/accounts/test_foreign_identifiers.py",
        "tests/accounts/test_invitations.py",
        "tests/accounts/test_lock.py",
        "tests/accounts/test_own_account.py",
        "tests/accounts/test_sign_in_page.py",
        "tests/accounts/test_stale_form.py",
        "tests/accounts/test_throttle.py",
        "tests/admin/test_applications.py",
        "tests/admin/test_event_pages.py",
        "tests/admin/test_explain.py",
        "tests/admin/test_lists.py",
        "tests/admin/test_roles.py",
        "tests/admin/test_sessions_and_events.py",
        "tests/admin/test_users_and_groups.py",
        "tests/authgate/test_contracts.py",
        "tests/authgate/test_endpoints.py",
        "tests/authgate/test_hand_over.py",
        "tests/authgate/test_machines.py",
        "tests/authgate/test_proxy_configuration.py",
        "tests/authgate/test_shared_cookies.py",
        "tests/authgate/test_start.py",
        "tests/delegation/test_effects.py",
        "tests/delegation/test_group_managers.py",
        "tests/delegation/test_owners.py",
        "tests/explain/test_same_as_check.py",
        "tests/glance/test_search.py",
        "tests/memberships/test_readers.py",
        "tests/openid/test_authorize.py",
        "tests/openid/test_client_keys.py",
        "tests/openid/test_costs.py",
        "tests/openid/test_device.py",
        "tests/openid/test_instructions.py",
        "tests/openid/test_tokens.py",
        "tests/second_factor/test_reauthentication.py",
        "tests/second_factor/test_signing_in.py",
        "tests/upstreams/test_administration.py",
        "tests/upstreams/test_application_tokens.py",
        "tests/upstreams/test_attempts.py",
        "tests/upstreams/test_cas_logout.py",
        "tests/upstreams/test_cas_sign_in.py",
        "tests/upstreams/test_fragments.py",
        "tests/upstreams/test_groups.py",
        "tests/upstreams/test_id_tokens.py",
        "tests/upstreams/test_identities.py",
        "tests/upstreams/test_machine_tokens.py",
        "tests/upstreams/test_provider_users.py",
    )
)
"""Files with long tables. `make quick` runs the first row of each table."""

MARKS_OF_SERVERS = frozenset(("proxy", "browser", "server"))


def starts_servers(test: pytest.Function) -> bool:
    """Return whether a test starts a portal, a proxy, a browser or a database server."""
    return bool(
        _starts_servers(test.module)
        or _is_on_postgresql(test)
        or any(mark.name in MARKS_OF_SERVERS for mark in test.iter_markers())
        or FIXTURES_OF_SERVERS.intersection(test.fixturenames)
    )


def _is_on_postgresql(test: pytest.Function) -> bool:
    """Return whether a test runs on both databases, and this is its run on PostgreSQL."""
    return hasattr(test, "callspec") and test.callspec.params.get("vendor") == "postgresql"


@cache
def _starts_servers(module: ModuleType) -> bool:
    return module.__name__.split(".")[1] in FOLDERS_OF_SERVERS or bool(STARTS_SERVERS & vars(module).keys())


def is_quick(test: pytest.Function) -> bool:
    """Return whether a test starts no server and is not long. `quick_tests` may still leave it out."""
    is_long = test.nodeid.partition("::")[0] in LONG or test.get_closest_marker("long")
    return not is_long and not starts_servers(test)


def quick_tests(tests: Iterable[pytest.Function]) -> Iterator[pytest.Function]:
    """Yield the tests that `make quick` runs. `tests` must have all tests of each of its files."""
    begun: set[str] = set()
    for test in filter(is_quick, tests):
        table = test.nodeid.partition("[")[0]
        if table in begun and test.nodeid.partition("::")[0] in FIRST_ROWS:
            continue
        begun.add(table)
        yield test
