"""The lock files contain the requirements and their dependencies, with hashes. No network is needed."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.locks import LOCKS, ROOT, Locked, needed_by, read_lock, read_requirements

LOCK = read_lock(ROOT / "requirements.lock")
LOCKED = {each.name: each for each in LOCK}
OTHER_SYSTEMS = {"async-timeout", "colorama", "tzdata"}
"""Packages that only Windows or Python before 3.11.3 needs."""


def needed() -> set[str]:
    """Return the names of the requirements and of their dependencies here, from their metadata."""
    left = read_requirements(ROOT / "requirements.txt")
    found: set[str] = set()
    while left:
        requirement = left.pop()
        found.add(canonicalize_name(requirement.name))
        left += [Requirement(name) for name in needed_by(requirement) if name not in found]
    return found


@pytest.mark.parametrize(("requirements", "lock"), LOCKS.items())
def test_the_lock_has_the_pinned_versions(requirements: str, lock: str) -> None:
    versions = {each.name: f"=={each.version}" for each in read_lock(ROOT / lock)}
    pinned = read_requirements(ROOT / requirements)

    assert {canonicalize_name(each.name): str(each.specifier) for each in pinned}.items() <= versions.items()


def test_the_lock_has_everything_that_is_needed_and_nothing_else() -> None:
    assert LOCKED.keys() - needed() - OTHER_SYSTEMS == set()
    assert needed() - LOCKED.keys() == set()


@pytest.mark.parametrize("name", sorted(needed()))
def test_tests_run_with_the_version_of_the_lock(name: str) -> None:
    assert metadata.version(name) == LOCKED[name].version


@pytest.mark.parametrize("lock", LOCKS.values())
def test_every_entry_has_hashes(lock: str) -> None:
    entries = read_lock(ROOT / lock)

    assert [each.name for each in entries if not each.hashes] == []
    assert len(entries) == len(re.findall(r"^[a-z]", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_image_builds_with_the_backend_of_the_wheel() -> None:
    [required] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]

    assert str(read_requirements(ROOT / "requirements-build.txt")[0]) == required


def test_the_image_installs_nothing_without_a_hash() -> None:
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip --python \S+ (?:install|wheel) [^&\n]*", text)

    assert len(installs) == 4
    assert [
        each for each in installs if not re.search(r"--require-hashes|--no-index|--no-build-isolation", each)
    ] == []


def test_an_entry_without_a_hash_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("a==1 ; python_version < '4' \\\n    --hash=sha256:" + "0" * 64 + "\n    # via b\nb==2\n")

    assert read_lock(file) == [
        Locked("a", "1", "python_version < '4'", ("0" * 64,)),
        Locked("b", "2", None, ()),
    ]
