"""Which tests `make quick` leaves out: those that start servers, and those that take long."""

from __future__ import annotations

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
"""A module that has one of these names starts what they stand for."""

FIXTURES_OF_SERVERS = frozenset(("cluster", "redis"))

LONG = frozenset(
    (
        "tests/accounts/test_bad_input.py",
        "tests/accounts/test_large_accounts.py",
        "tests/admin/test_staff_and_superusers.py",
        "tests/fuzzing/test_fuzzing.py",
        "tests/fuzzing/test_heads.py",
        "tests/openid/test_any_parameters.py",
        "tests/second_factor/test_own_factors.py",
    )
)
"""Files that are long as a whole. In others, the marker `long` stands at what is."""

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
    """Return whether a test is the half on PostgreSQL of one that runs on both databases."""
    return hasattr(test, "callspec") and test.callspec.params.get("vendor") == "postgresql"


@cache
def _starts_servers(module: ModuleType) -> bool:
    return module.__name__.split(".")[1] in FOLDERS_OF_SERVERS or bool(STARTS_SERVERS & vars(module).keys())


def is_quick(test: pytest.Function) -> bool:
    is_long = test.nodeid.partition("::")[0] in LONG or test.get_closest_marker("long")
    return not is_long and not starts_servers(test)
