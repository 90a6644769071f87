"""The migrate command works on an empty database, which has no journal yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.catalogues import ROOT


@pytest.mark.long
def test_the_command_migrates_an_empty_database(tmp_path: Path) -> None:
    variables = {**os.environ, "IKD_VAR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite3"}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]

    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-500:]
