"""The output of `make release`, and that the workflows run existing commands."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from ikd_portal import __version__
from tools import release, sbom
from tools.locks import ROOT, read_lock

CHANGELOG = """# Changelog

## [Unreleased]

### Added

- A line.

## [1.2.0] - 2026-11-01

- Another line.

[Unreleased]: https://example.com
"""
STATUS = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:3.0.1+b1\n"
WORKFLOWS = [*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / ".gitlab-ci.yml"]


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return dict(json.loads(sbom.bill(1_700_000_000)))


def test_the_bill_names_every_package_of_the_lock_with_licence_and_hashes(bill: dict[str, Any]) -> None:
    locked = read_lock(ROOT / "requirements.lock")

    assert [each["purl"] for each in bill["components"]] == [
        f"pkg:pypi/{one.name}@{one.version}" for one in locked
    ]
    assert all(each["licenses"] and each["externalReferences"][0]["hashes"] for each in bill["components"])
    assert bill["metadata"]["component"]["version"] == __version__


def test_the_bill_contains_dependencies(bill: dict[str, Any]) -> None:
    references = {each["bom-ref"] for each in bill["components"]}
    needs = {each["ref"].partition("@")[0]: each["dependsOn"] for each in bill["dependencies"]}

    assert {each for row in needs.values() for each in row} <= references
    assert any(each.startswith("pkg:pypi/django@") for each in needs["pkg:pypi/ikd-portal"])
    assert any(each.startswith("pkg:pypi/fido2@") for each in needs["pkg:pypi/django-allauth"])


def test_two_bills_of_one_commit_are_the_same() -> None:
    assert sbom.bill(1_700_000_000) == sbom.bill(1_700_000_000) != sbom.bill(1_700_000_001)


def test_the_bill_names_debians_packages_of_an_image(tmp_path: Path) -> None:
    layer = _tar({"usr/bin/python3": "", "var/lib/dpkg/status.d/libssl3": STATUS})
    image = tmp_path / "image.tar"
    image.write_bytes(
        _tar({"manifest.json": json.dumps([{"Layers": ["a/layer.tar"]}]), "a/layer.tar": layer})
    )

    [last] = json.loads(sbom.bill(0, image))["components"][len(read_lock(ROOT / "requirements.lock")) :]

    assert last["purl"] == "pkg:deb/debian/libssl3@1%3A3.0.1%2Bb1?arch=amd64"


def _tar(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_notes_are_the_versions_section() -> None:
    assert release.notes_of(CHANGELOG, "1.2.0") == "- Another line.\n"
    assert release.notes_of(CHANGELOG, "Unreleased") == "### Added\n\n- A line.\n"


def test_this_version_has_notes() -> None:
    assert release.notes_of((ROOT / "CHANGELOG.md").read_text(), __version__)


@pytest.mark.parametrize("version", ["1.3.0", "1x2.0", "1.2"])
def test_a_version_without_notes_is_not_released(version: str) -> None:
    with pytest.raises(release.ReleaseError):
        release.notes_of(CHANGELOG, version)


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "SHA256SUMS").write_text("old")

    assert release.checksums(tmp_path) == (
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a\n"
    )


def commands_of(path: Path) -> list[str]:
    jobs = yaml.safe_load(path.read_text())
    if path.name == ".gitlab-ci.yml":
        return [line for name, job in jobs.items() if name != "default" for line in job["script"]]
    return [step["run"] for job in jobs["jobs"].values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_commands_that_exist(path: Path) -> None:
    text = (ROOT / "Makefile").read_text()
    commands = [each for each in commands_of(path) if re.match(r"make |\.ci/", each)]

    assert commands
    for each in commands:
        assert (ROOT / ".ci" / "run").exists() if each == ".ci/run" else f"\n{each.split()[1]}:" in text


def test_both_services_run_the_whole_of_the_tests() -> None:
    runs = {path.name: ".ci/run" in commands_of(path) for path in WORKFLOWS}

    assert runs == {"tests.yml": True, "release.yml": False, ".gitlab-ci.yml": True}


def test_actions_are_pinned_by_commit_and_may_only_read() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        used = re.findall(r"uses: (\S+)", text)

        assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each)] == []
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
