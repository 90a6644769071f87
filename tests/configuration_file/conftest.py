"""Configuration files to apply, and the output of the commands."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.feed.conftest import cluster, database, vendor  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401

Apply = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "portal.yaml"


@pytest.fixture
def apply(file: Path) -> Apply:
    """Return a function that applies a text with a `version` line added, and returns the command's output."""

    def run(text: str, *options: str, command: str = "apply") -> str:
        file.write_text(f"version: 1\n{text}")
        output = StringIO()
        more = ("--yes",) if command == "apply" else ()
        call_command(command, str(file), *more, *options, stdout=output)
        return output.getvalue()

    return run
