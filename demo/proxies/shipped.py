"""What the demo's proxies have in common: they run the files of deploy/, with the demo's values put in."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ikd_portal import installation

DEPLOY = installation.FILES / "deploy"
# Beside this Python for what pip installs, then where distributions put what only administrators start.
PROGRAM_FOLDERS = os.pathsep.join(
    (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy's files go, the port it listens on, and whom it speaks with: HOST:PORT of 127.0.0.1."""

    folder: Path
    port: int
    portal: str
    backend: str

    @property
    def addresses(self) -> dict[str, str]:
        """Return the addresses in deploy/ for portal and application, with those of the demo."""
        return {"127.0.0.1:8000": self.portal, "127.0.0.1:9001": self.backend}


@dataclass(frozen=True, slots=True)
class Kind:
    """A proxy that the demo can stand behind.

    `write` gets the program's path and the place, whose folder is there and empty; it writes the proxy's
    files there and gives its command line. The proxy has to stay in the foreground, in one process group.
    """

    name: str
    program: str
    package: str
    """How to get the program, as a sentence's end: `apt install nginx-light (Debian)`."""
    write: Callable[[str, Place], list[str]]

    def find(self) -> str | None:
        """Return the program's path, or None if it is not installed."""
        return shutil.which(self.program, path=PROGRAM_FOLDERS)


def substitute(text: str, replacements: dict[str, str], patterns: dict[str, str]) -> str:
    """Replace texts, then patterns. Raises ValueError for one that does not occur: deploy/ has changed."""
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"deploy/ has no {old!r} any more")
        text = text.replace(old, new)
    for pattern, new in patterns.items():
        text, count = re.subn(pattern, new, text)
        if not count:
            raise ValueError(f"deploy/ has nothing like {pattern!r} any more")
    return text
