"""Programs from the Go module proxy, built once and kept in the user's cache."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.proxies.processes import binary

PROGRAMS = {
    "oauth2-proxy": ("github.com/oauth2-proxy/oauth2-proxy/v7", "v7.15.6"),
    "miniflux.app": ("miniflux.app/v2", "v2.3.5"),
}
"""Module and version of each program. The tests of both are one unit, so that shared imports compile once."""

FLAGS = ["-ldflags=-s -w", "-gcflags=all=-N -l -dwarf=false -c=1"]
WHILE_BUILDING = {"CGO_ENABLED": "0", "GOGC": "off", "GOMAXPROCS": "1"}
"""No optimization, no debugging data, and no garbage collection in compilers, which run shortly.

Building both takes 105 seconds of a processor. It took 140 without the last two.
"""


def built(name: str) -> Path:
    """Return a program. Skip the test if it cannot be built; fail it on CI."""
    module, version = PROGRAMS[name]
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = caches / "ikd-portal-tests" / f"{name}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / name).exists():
            _build(f"{module}@{version}", folder)
    return folder / name


def _build(what: str, folder: Path) -> None:
    go = binary("go", "golang-go, of the version that the module's go.mod names")
    done = subprocess.run(
        [go, "install", f"-p={os.cpu_count()}", *FLAGS, what],
        env=os.environ | WHILE_BUILDING | {"GOBIN": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"Go cannot build {what}: is the module proxy reachable?")
    assert done.returncode == 0, done.stderr
