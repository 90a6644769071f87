"""The folder for the tests' files: in memory if this machine has room, because they create many databases."""

from __future__ import annotations

import os
import tempfile

IN_MEMORY = "/dev/shm"
ROOM = 3 * 2**30
"""Bytes that must be free. A run needs less than a tenth of that at a time."""


def memory_folder() -> str | None:
    """Return the folder in memory. Returns None if it lacks room, or if programs cannot run there."""
    try:
        found = os.statvfs(IN_MEMORY)
    except OSError:
        return None
    is_fit = os.access(IN_MEMORY, os.W_OK) and not found.f_flag & os.ST_NOEXEC
    return IN_MEMORY if is_fit and found.f_bavail * found.f_frsize >= ROOM else None


def use_memory_folder() -> None:
    """Create temporary files there, in child processes too. A TMPDIR that is already set stays."""
    os.environ.setdefault("TMPDIR", memory_folder() or tempfile.gettempdir())
    tempfile.tempdir = os.environ["TMPDIR"]
