"""Builds the files of a release into dist/: wheel, sdist, image, chart, SBOM, notes and checksums.

Run `make release` in a clean checkout of the commit to release; see docs/release.md. It publishes nothing.
Two runs on one commit build the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ikd_portal import __version__
from tools import chart, sbom
from tools.locks import ROOT

DIST = ROOT / "dist"
BUILDERS = ("docker", "podman", "buildah")


class ReleaseError(Exception):
    """A reason why this commit cannot be released."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make release", description="Build what a release publishes into dist/."
    )
    parser.add_argument("--draft", action="store_true", help="build any commit, whatever the changelog says")
    parser.add_argument("--without-image", action="store_true", help="build no container image")
    options = parser.parse_args()
    try:
        _release(is_draft=options.draft, with_image=not options.without_image)
    except (ReleaseError, subprocess.CalledProcessError) as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    return 0


def _release(*, is_draft: bool, with_image: bool) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    if not is_draft:
        _require_clean()
    text = notes_of(changelog, "Unreleased" if is_draft else __version__)
    at = int(_git("log", "-1", "--format=%ct"))
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    _build_packages(at)
    image = _build_image(at) if with_image else None
    chart.pack(DIST, at)
    for name in ("requirements.lock", "LICENSE"):
        shutil.copyfile(ROOT / name, DIST / name)
    (DIST / f"ikd-portal-{__version__}.cdx.json").write_text(sbom.bill(at, image))
    (DIST / "notes.md").write_text(text)
    (DIST / "SHA256SUMS").write_text(checksums(DIST))
    print((DIST / "SHA256SUMS").read_text(), end="")


def notes_of(changelog: str, version: str) -> str:
    """Return the changelog's section of a version without its heading. Raises ReleaseError without one."""
    heading = re.escape(version)
    dated = "" if version == "Unreleased" else r" - \d{4}-\d\d-\d\d"
    found = re.search(rf"^## \[{heading}\]{dated}\n(.*?)(?=^## \[|^\[[^]]+\]: |\Z)", changelog, re.M | re.S)
    if found is None or not found[1].strip():
        raise ReleaseError(f"CHANGELOG.md has no dated section for {version}")
    return found[1].strip() + "\n"


def checksums(folder: Path) -> str:
    """Return the lines of SHA256SUMS in the format of `sha256sum --check`."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def _require_clean() -> None:
    if changed := _git("status", "--porcelain", "--untracked-files=no"):
        raise ReleaseError(f"these files are not committed:\n{changed}")
    if (tags := _git("tag", "--points-at", "HEAD").split()) and f"v{__version__}" not in tags:
        raise ReleaseError(f"the tag must be v{__version__}, is {', '.join(tags)}")


def _build_packages(at: int) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(DIST)],
        cwd=ROOT,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(at)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _build_image(at: int) -> Path | None:
    """Build the image with the first program that works here. Return its archive, or None without one."""
    builder = next((name for name in BUILDERS if _works(name)), None)
    if builder is None:
        print("No docker, podman or buildah works here: building no image.", file=sys.stderr)
        return None
    name, archive = f"localhost/ikd-portal:{__version__}", DIST / f"ikd-portal-{__version__}-image.tar"
    options = [] if builder == "docker" else ["--timestamp", str(at), "--format", "docker"]
    options += [f"--build-arg={each}" for each in os.environ.get("IMAGE_BUILD_ARGS", "").split()]
    verb = "bud" if builder == "buildah" else "build"
    subprocess.run(
        [builder, verb, *options, "-f", "deploy/docker/Dockerfile", "-t", name, "."], cwd=ROOT, check=True
    )
    save = ["push", "--quiet", name, f"docker-archive:{archive}:{name}"]
    if builder != "buildah":
        save = ["save", "--output", str(archive), name]
    subprocess.run([builder, *save], check=True)
    return archive


def _works(builder: str) -> bool:
    if shutil.which(builder) is None:
        return False
    return subprocess.run([builder, "info"], capture_output=True).returncode == 0


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
