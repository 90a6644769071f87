"""Creates files for commands. It never overwrites a file."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.management.base import CommandError


def write_new(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a new file with these permissions, less the umask. Raises CommandError if it exists."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(file, "w", encoding="utf-8", newline="") as written:
            written.write(text)
    except FileExistsError:
        raise CommandError(f"{path} exists: choose another name.") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
