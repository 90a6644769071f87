"""Which tests `make quick` leaves out: those that start servers, and those that take long."""

from __future__ import annotations

import pytest

FOLDERS_OF_SERVERS = frozenset(
    (
        *("browser", "clients", "demo", "faults", "feed", "front", "logs", "origins", "proxies"),
        *("published", "years"),
    )
)
STARTS_SERVERS = frozenset(("Cluster", "Demo", "Portal", "Proxy", "start_portal", "sync_playwright"))
"""A module that has one of these names starts what they stand for."""

FIXTURES_OF_SERVERS = frozenset(("cluster", "redis"))

LONG = frozenset(
    (
        "tests/accounts/test_bad_input.py",
        "tests/accounts/test_large_accounts.py",
        "tests/admin/test_staff_and_superusers.py",
        "tests/second_factor/test_own_factors.py",
    )
)


def starts_servers(test: pytest.Function) -> bool:
    """Return whether a test starts a portal, a proxy, a browser or a database server."""
    return bool(
        any(test.get_closest_marker(name) for name in ("proxy", "browser", "server"))
        or test.nodeid.split("/")[1] in FOLDERS_OF_SERVERS
        or STARTS_SERVERS & vars(test.module).keys()
        or FIXTURES_OF_SERVERS.intersection(test.fixturenames)
    )


def is_quick(test: pytest.Function) -> bool:
    return not starts_servers(test) and test.nodeid.partition("::")[0] not in LONG
