"""The portal's settings for tests: a portal on https, cheap hashes, no file of an installation touched."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

if "TESTS_OF_ONE_RUN" not in os.environ:
    # Processes of pytest-xdist share it: they inherit the variable from the process that starts them.
    os.environ["TESTS_OF_ONE_RUN"] = tempfile.mkdtemp(prefix="ikd-tests-of-one-run-")
    atexit.register(shutil.rmtree, os.environ["TESTS_OF_ONE_RUN"], ignore_errors=True)

# Below IKD_VAR the paths of the tests' Unix sockets would become too long.
os.environ.setdefault("TMPDIR", tempfile.gettempdir())
os.environ.setdefault("IKD_VAR", tempfile.mkdtemp(prefix="ikd-tests-"))
os.environ.setdefault("IKD_SECRET_KEY", "the tests' own secret key, which no installation has: 0123456789")
os.environ.setdefault("IKD_PORTAL_URL", "https://sso.example.com")

from ikd_portal.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

IKD_WRITE_BEHIND = False
