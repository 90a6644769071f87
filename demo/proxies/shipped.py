"""Code that the demo's proxies share: they run the files of deploy/ with the demo's values."""

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
# Search next to this Python for pip's programs, and finally in the folders for administrators.
PROGRAM_FOLDERS = os.pathsep.join(
    (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")
)


@dataclass(frozen=True, slots=True)
class Place:
    """A proxy's folder and port. `portal` and `backend` are HOST:PORT on 127.0.0.1."""

    folder: Path
    port: int
    portal: str
    backend: str

    @property
    def addresses(self) -> dict[str, str]:
        """Map the addresses of portal and application in deploy/ to those of the demo."""
        return {"127.0.0.1:8000": self.portal, "127.0.0.1:9001": self.backend}


@dataclass(frozen=True, slots=True)
class Kind:
    """A proxy that the demo supports.

    `write` receives the program's path and a place with an empty folder. It writes the proxy's files there
    and returns its command line. The proxy must stay in the foreground, in one process group.
    """

    name: str
    program: str
    package: str
    """How to get the program, to complete a sentence: `apt install nginx-light (Debian)`."""
    write: Callable[[str, Place], list[str]]

    def find(self) -> str | None:
        """Return the program's path, or None if it is not installed."""
        return shutil.which(self.program, path=PROGRAM_FOLDERS)


def substitute(text: str, replacements: dict[str, str], patterns: dict[str, str]) -> str:
    """Replace texts, then patterns. Raises ValueError if one does not occur, because deploy/ has changed."""
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"deploy/ has no {old!r} any more")
        text = text.replace(old, new)
    for pattern, new in patterns.items():
        text, count = re.subn(pattern, new, text)
        if not count:
            raise ValueError(f"deploy/ has nothing like {pattern!r} any more")
    return text
