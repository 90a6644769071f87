"""The benchmarks' code that runs as text, which no linter reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import growth
from tests.pattern import copy_pattern


@pytest.mark.long
def test_the_time_to_compile_all_applications_is_measured(tmp_path: Path) -> None:
    copy_pattern(tmp_path / "ikd.sqlite3")

    assert growth.compile_seconds(tmp_path) >= 0
