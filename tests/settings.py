"""The portal's settings for tests: a portal on https, cheap hashes, and no files of an installation."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.memory_folder import use_memory_folder
from tests.own_database import RUN_ON, TEMPLATE


def _remove(folder: Path) -> None:
    """Remove what the processes of a run share, and the files to which its links lead."""
    linked = [each.resolve() for each in folder.iterdir() if each.is_symlink()]
    for path in (*linked, folder):
        shutil.rmtree(path, ignore_errors=True)


# Below IKD_VAR the paths of the tests' Unix sockets would become too long.
use_memory_folder()
if "TESTS_OF_ONE_RUN" not in os.environ:
    # Processes of pytest-xdist inherit this variable from the process that starts them, and share the folder.
    os.environ["TESTS_OF_ONE_RUN"] = tempfile.mkdtemp(prefix="ikd-tests-of-one-run-")
    atexit.register(_remove, Path(os.environ["TESTS_OF_ONE_RUN"]))

os.environ.setdefault("IKD_VAR", tempfile.mkdtemp(prefix="ikd-tests-"))
os.environ.setdefault("IKD_SECRET_KEY", "the tests' own secret key, which no installation has: 0123456789")
os.environ.setdefault("IKD_PORTAL_URL", "https://sso.example.com")

if store := os.environ.get("TESTS_REDIS"):
    # Each process of pytest-xdist (gw0, gw1, …) and its servers have their own database of Redis.
    os.environ["REDIS_URL"] = f"{store}/{os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw')}"

from ikd_portal.settings import *  # noqa: E402, F403

if server := os.environ.get(RUN_ON):
    # The tests' database is a copy of a migrated one. No server uses it.
    DATABASES["default"] = database(f"{server}/postgres") | {"TEST": {"NAME": "tests", "TEMPLATE": TEMPLATE}}  # noqa: F405

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

IKD_WRITE_BEHIND = False

# Each handler would warn that the folder is missing.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405
