"""Compile the tests' modules in all workers at once: each worker compiles a different part.

Each worker of pytest-xdist imports every module, in the same order. In a new clone, all of them would compile
the same module at the same time.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def compile_a_share(config: pytest.Config, is_left_out: Callable[[Path], bool]) -> None:
    """Import this worker's share of the modules of a whole run. pytest keeps the compiled modules.

    An import that fails here fails again when pytest collects the module, which reports it.
    """
    worker, count = os.environ.get("PYTEST_XDIST_WORKER"), os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    if worker is None or count is None or config.args_source is not config.ArgsSource.TESTPATHS:
        return
    root = config.rootpath
    paths = [path for path in sorted((root / "tests").rglob("test_*.py")) if not is_left_out(path)]
    for path in paths[int(worker.removeprefix("gw")) :: int(count)]:
        try:
            importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
        except Exception:
            continue
