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
        "tests/second_factor/test_own_factors.py",
    )
)


MARKS_OF_SERVERS = frozenset(("proxy", "browser", "server"))


def starts_servers(test: pytest.Function) -> bool:
    """Return whether a test starts a portal, a proxy, a browser or a database server."""
    return bool(
        _starts_servers(test.module)
        or any(mark.name in MARKS_OF_SERVERS for mark in test.iter_markers())
        or FIXTURES_OF_SERVERS.intersection(test.fixturenames)
    )


@cache
def _starts_servers(module: ModuleType) -> bool:
    return module.__name__.split(".")[1] in FOLDERS_OF_SERVERS or bool(STARTS_SERVERS & vars(module).keys())


def is_quick(test: pytest.Function) -> bool:
    return test.nodeid.partition("::")[0] not in LONG and not starts_servers(test)
