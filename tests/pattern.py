"""One migrated SQLite file that all processes of a test run copy, because migrating takes seconds.

Run as a program, it migrates the database of its environment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import django
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent


def pattern() -> Path:
    """Return the migrated file, which the first process of a run creates. Copy it; never write to it."""
    return created_once("pattern", lambda: _migrated(Path(os.environ["TESTS_OF_ONE_RUN"]) / "made"))


def created_once(name: str, make: Callable[[], Path]) -> Path:
    """Return a path that the first process of a run creates for all of them."""
    link = Path(os.environ["TESTS_OF_ONE_RUN"]) / name
    with link.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not link.exists():
            link.symlink_to(make())
    return link.resolve()


def copy_pattern(path: Path) -> None:
    """Create a migrated database at `path`, as a portal does at its first start."""
    shutil.copy(pattern(), path)


def fill_from_pattern(uri: str) -> sqlite3.Connection:
    """Copy the pattern into a database in memory. It lives as long as the returned connection."""
    target = sqlite3.connect(uri, uri=True, check_same_thread=False)
    with closing(sqlite3.connect(pattern())) as source:
        source.backup(target)
    return target


CHEAPEST_HASHES = {"IKD_ARGON2_MEMORY_COST": "19456", "IKD_ARGON2_PARALLELISM": "1"}
"""The weakest parameters that the portal accepts. A sign-in takes a ninth of the default's time."""


def portals_environment() -> dict[str, str]:
    """Return this process's environment without the settings of the tests' own portal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IKD_", "DJANGO_"))}
    return kept | {"DJANGO_SETTINGS_MODULE": "ikd_portal.settings"}


def _migrated(var: Path) -> Path:
    """Migrate a database in the folder `var` and return its path. Raises RuntimeError."""
    environment = portals_environment() | {"IKD_VAR": str(var), "IKD_PORTAL_URL": "https://sso.example.com"}
    for name in ("DATABASE_URL", "REDIS_URL"):  # with Redis, the tables of caches would be missing
        environment.pop(name, None)
    var.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.pattern"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stderr[-4000:]}")
    return var / "ikd.sqlite3"


def main() -> None:
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)


if __name__ == "__main__":
    main()
