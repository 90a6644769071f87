"""The folder IKD_VAR and the folder for temporary files. Without Django: gunicorn's master imports this."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  # gunicorn unlinks its files there at once
SYSTEM = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108


class NotWritable(Exception):
    """The portal needs a folder and cannot write to it. The message is one line that includes the fix."""


def make_private(folder: Path) -> None:
    """Create a folder that only this user may enter, and its parents. Raises OSError.

    The mode is set after creation, because the workers' umask would remove the right to enter the folder.
    """
    for each in reversed([folder, *folder.parents]):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)
            each.chmod(0o700)


def require_writable(folder: Path) -> None:
    """Create the folder if it is missing. Raises NotWritable if no file can be created in it."""
    try:
        make_private(folder)
    except OSError as error:
        raise NotWritable(
            f"{folder} cannot be made ({error.strerror}): choose a folder with IKD_VAR=."
        ) from None
    if not _takes_files(folder):
        raise NotWritable(f"No permission to write to {folder}: choose another folder with IKD_VAR=.")


def temporary_folder(var: Path) -> Path:
    """Return the first writable folder of TMPDIR, `tmp` in IKD_VAR, and SYSTEM. Raises NotWritable."""
    named, own = os.environ.get("TMPDIR"), var / "tmp"
    if not (named and _takes_files(Path(named))):
        with suppress(OSError):
            make_private(own)
    wanted = [*([Path(named)] if named else []), own, *SYSTEM]
    found = _first_that_takes_files(wanted)
    if found is None:
        raise NotWritable(
            f"No folder takes temporary files: make {var} writable, or choose another with IKD_VAR=."
        )
    return found


def use_temporary_folder(var: Path) -> Path:
    """Use `temporary_folder` for the temporary files of this process and its children. Raises NotWritable."""
    folder = temporary_folder(var)
    tempfile.tempdir = os.environ["TMPDIR"] = os.environ["SQLITE_TMPDIR"] = str(folder)
    return folder


def heartbeat_folder(temporary: Path) -> Path:
    """Return the folder for gunicorn's heartbeat files: in memory if possible, so no disk delays them."""
    return _first_that_takes_files([MEMORY, temporary]) or temporary


def _first_that_takes_files(folders: Iterable[Path]) -> Path | None:
    return next(filter(_takes_files, folders), None)


def _takes_files(folder: Path) -> bool:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
