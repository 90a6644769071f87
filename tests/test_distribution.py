"""Tests of a module stay in one process, and no row of the behaviour table is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distribution import NOTHING_SHARED, SECONDS, seconds_of, unit_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        ("tests/front/test_limits.py::test_a", "tests/front/test_limits.py"),
        ("tests/front/test_limits.py::test_a[x@y]", "tests/front/test_limits.py"),
        ("tests/several/test_across.py::test_a@several", "several"),
        ("tests/proxies/test_connections.py::test_a[nginx]@at a socket", "at a socket"),
        ("tests/proxies/test_warm.py::test_a[nginx]", "tests/proxies [nginx]"),
        ("tests/proxies/test_warm.py::test_a[ingress_nginx-x]", "tests/proxies [ingress_nginx]"),
        ("tests/proxies/test_envoy.py::test_a[envoys own]", "tests/proxies/test_envoy.py"),
        ("tests/accounts/test_bad_input.py::test_a[x]", "tests/accounts/test_bad_input.py::test_a[x]"),
    ],
)
def test_a_test_belongs_to_its_unit(test: str, unit: str) -> None:
    assert unit_of(test) == unit


def test_a_unit_with_known_seconds_counts_with_them() -> None:
    unit, seconds = next(iter(SECONDS.items()))

    assert seconds_of(unit, 1) == seconds
    assert seconds_of("tests/test_x.py", 10) < seconds_of("tests/test_x.py", 20)


def test_units_that_start_servers_begin_first() -> None:
    assert seconds_of("tests/front/test_x.py", 10) > seconds_of("tests/accounts/test_x.py", 20)


@pytest.mark.parametrize("name", [*NOTHING_SHARED, *(unit for unit in SECONDS if unit.endswith(".py"))])
def test_a_file_in_the_tables_exists(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.xdist_group("one unit")
def test_a_group_is_part_of_a_tests_name(request: pytest.FixtureRequest) -> None:
    """pytest-xdist uses private parts of pytest for this, which may change between versions."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("this test runs in no process of `--dist loadgroup`")

    assert request.node.nodeid.endswith("@one unit")
