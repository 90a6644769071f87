"""Reads requirements.txt and its lock file, which lists every installed package with its hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

LOCKS = {"requirements.txt": "requirements.lock", "requirements-build.txt": "requirements-build.lock"}
"""The lock file of each requirements file."""

ENTRY = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?$", re.M)
HASH = re.compile(r"^    --hash=sha256:([0-9a-f]{64})", re.M)


@dataclass(frozen=True, slots=True)
class Locked:
    """A package of a lock file. Its hashes are the SHA-256 of all its files on the index."""

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]


def read_lock(path: Path) -> list[Locked]:
    """Return the packages of a lock file in its order."""
    text = path.read_text()
    entries = list(ENTRY.finditer(text))
    ends = [entry.start() for entry in entries[1:]] + [len(text)]
    return [
        Locked(entry["name"], entry["version"], entry["marker"], tuple(HASH.findall(text, entry.end(), end)))
        for entry, end in zip(entries, ends, strict=True)
    ]


def read_requirements(path: Path) -> list[Requirement]:
    """Return the requirements of a file, without its comments and options."""
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def needed_by(requirement: Requirement) -> set[str]:
    """Return the names of an installed package's dependencies here, including the requested extras.

    Empty if the package is not installed.
    """
    try:
        lines = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        return set()
    found: set[str] = set()
    for each in map(Requirement, lines):
        extras = requirement.extras or {""}
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras):
            found.add(canonicalize_name(each.name))
    return found
