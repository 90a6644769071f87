"""The files in the lists of tests/quick.py exist, and each table keeps a row in `make quick`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import pytest

from tests.quick import FIRST_ROWS, LONG, quick_tests

ROOT = Path(__file__).resolve().parent.parent
TABLE = min(FIRST_ROWS)


class Row:
    """The parts of a pytest test that the choice reads."""

    module = sys.modules[__name__]
    fixturenames: tuple[str, ...] = ()

    def __init__(self, nodeid: str, *, long: bool = False) -> None:
        self.nodeid = nodeid
        self.long = long

    def get_closest_marker(self, name: str) -> bool:
        return name == "long" and self.long

    def iter_markers(self) -> list[pytest.Mark]:
        return []


def chosen(*rows: Row) -> list[str]:
    return [test.nodeid for test in quick_tests(cast("list[pytest.Function]", rows))]


@pytest.mark.parametrize("file", sorted(FIRST_ROWS | LONG))
def test_a_listed_file_exists(file: str) -> None:
    assert (ROOT / file).is_file()


@pytest.mark.parametrize("file", sorted(FIRST_ROWS))
def test_a_file_of_first_rows_has_a_table(file: str) -> None:
    assert "parametrize" in (ROOT / file).read_text()


def test_no_file_is_named_twice() -> None:
    assert not FIRST_ROWS & LONG


def test_each_table_of_a_long_file_keeps_its_first_row() -> None:
    rows = [f"{TABLE}::test_a[1]", f"{TABLE}::test_a[2]", f"{TABLE}::test_b[1]", f"{TABLE}::test_c"]

    assert chosen(*map(Row, rows)) == [rows[0], rows[2], rows[3]]


def test_a_long_row_is_not_the_one_that_is_kept() -> None:
    rows = Row(f"{TABLE}::test_a[1]", long=True), Row(f"{TABLE}::test_a[2]"), Row(f"{TABLE}::test_a[3]")

    assert chosen(*rows) == [rows[1].nodeid]


def test_other_files_keep_all_rows() -> None:
    rows = ["tests/test_other.py::test_a[1]", "tests/test_other.py::test_a[2]"]

    assert chosen(*map(Row, rows)) == rows
