"""The Unix socket on which page processes listen. gunicorn's master creates it; workers inherit it.

Standard library only, because the master imports this before Django is set up.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "IKD_PAGES_FD"
"""The variable by which the socket survives a reload and a new binary, as `socket:folder`."""

WAITING = 1024
"""Connections that may wait to be accepted."""


def open_or_inherit(var: Path) -> tuple[int, int]:
    """Return the descriptors of the listening socket and of its folder. Create both if they are missing.

    The folder is in `var`, or in the system's temporary folder if `var` is not writable. Processes reach the
    socket through the folder's descriptor, because the path of a Unix socket has 107 bytes at most.
    """
    known = _known()
    if known is not None:
        return known
    _remove_abandoned(var)
    try:
        path = Path(tempfile.mkdtemp(prefix="pages-", dir=var))
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="pages-"))
    path.chmod(0o700)
    folder_number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address(folder_number))
    listening.listen(WAITING)
    number = listening.detach()
    for each in (number, folder_number):
        os.set_inheritable(each, True)
    os.environ[VARIABLE] = f"{number}:{folder_number}"
    return number, folder_number


def address(folder: int) -> str:
    """Return the path of the socket, valid in every process that inherited the folder's descriptor."""
    return f"/proc/self/fd/{folder}/socket"


def remove() -> None:
    """Remove the socket and its folder, if this process or its master created them."""
    known = _known()
    if known is not None:
        shutil.rmtree(Path(f"/proc/self/fd/{known[1]}").resolve(), ignore_errors=True)


def _known() -> tuple[int, int] | None:
    """Return the descriptors in VARIABLE, or None unless a master of this portal set it."""
    try:
        number, folder = map(int, os.environ.get(VARIABLE, "").split(":"))
        is_ours = Path(address(folder)).is_socket() and stat.S_ISSOCK(os.fstat(number).st_mode)
    except (ValueError, OSError):
        return None
    return (number, folder) if is_ours else None


def _remove_abandoned(var: Path) -> None:
    """Remove the folders that killed masters left."""
    for folder in var.glob("pages-*"):
        with suppress(OSError):
            number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if not _is_served(number):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(number)


def _is_served(folder: int) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address(folder))
        except OSError:
            return False
    return True
