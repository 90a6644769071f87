"""The image, built by buildah and run by podman. Their storage is in a folder of the tests."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.install.packages import ROOT

PROGRAMS = ("buildah", "podman", "runc", "mmdebstrap")
SUITE = "bookworm"
FOLDER = Path("~/.cache/ikd-portal-tests/containers").expanduser()
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
IN_BUILD = "/certificates-of-the-index.crt"
IMAGE = "localhost/ikd-portal"
# The tests' machine may be a container itself: without systemd, and with limits that cannot be raised.
FLAGS = (
    *("--runtime", "runc", "--cgroups", "no-conmon", "--network", "host"),
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
)


def missing_programs() -> list[str]:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextmanager
def engine() -> Iterator[Engine]:
    """Yield the engine, for one process at a time. Its storage stays in the cache of this user."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Engine()
        try:
            yield made
        finally:
            made.clean()


@dataclass(slots=True)
class Engine:
    driver: str = ""
    containers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.driver = "overlay"
        done = self._call("podman", "info", check=False)
        if done.returncode and "not supported" in done.stderr:
            self.driver = "vfs"  # copies every layer, which takes several times as long
            done = self._call("podman", "info", check=False)
        assert done.returncode == 0, done.stderr

    def _call(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        storage = ["--root", str(FOLDER / self.driver), "--runroot", f"/run/ikd-tests-{self.driver}"]
        temporary = FOLDER / "tmp"
        temporary.mkdir(exist_ok=True)
        return subprocess.run(
            [program, *storage, "--storage-driver", self.driver, *arguments],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(temporary)},
            check=check,
            capture_output=True,
            text=True,
        )

    def podman(self, *arguments: str, check: bool = True) -> str:
        """Return podman's output."""
        return self._call("podman", *arguments, check=check).stdout.strip()

    def base(self) -> str:
        """Return the name of a small Debian image, made by mmdebstrap on first use."""
        name = f"localhost/ikd-portal-tests-{SUITE}"
        if not self.podman("images", "-q", name):
            archive = FOLDER / f"{SUITE}.tar"
            subprocess.run(
                ["mmdebstrap", "--quiet", "--variant=minbase", SUITE, str(archive)],
                check=True,
                capture_output=True,
            )
            self.podman("import", str(archive), name)
            archive.unlink()
        return name

    def build(self, tag: str, certificates: str = IN_BUILD) -> str:
        """Build the image with a tag. Returns its name.

        The build gets this machine's certificates, which its package index may need. A change of their path
        invalidates the cache of every step after Debian's packages.
        """
        name = f"{IMAGE}:{tag}"
        options = ["--isolation", "chroot", "--format", "docker", "--layers", "--timestamp", "0"]
        options += ["--build-arg", f"BASE={self.base()}", "--build-arg", f"PIP_CERT={certificates}"]
        options += ["-v", f"{CERTIFICATES}:{IN_BUILD}:ro"]
        done = self._call(
            "buildah", "bud", *options, "-f", "deploy/docker/Dockerfile", "-t", name, ".", check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return name

    def inspect(self, image: str) -> dict[str, Any]:
        [found] = json.loads(self.podman("image", "inspect", image))
        return dict(found)

    def start(self, image: str, *options: str, name: str = "") -> str:
        """Start a container with a read-only root file system in the background. Returns its name."""
        name = name or f"ikd-{uuid.uuid4().hex[:12]}"
        self.podman("run", "-d", "--name", name, *FLAGS, "--read-only", *options, image)
        self.containers.append(name)
        return name

    def run(self, image: str, *options: str, command: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run a command in the image to its end. Returns the exit code and the output."""
        done = self._call(
            "podman", "run", "--rm", *FLAGS, "--read-only", *options, image, *command, check=False
        )
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("time=")]
        return done.returncode, "\n".join(said)

    def execute(
        self, container: str, *command: str, variables: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command in a running container. Returns the exit code and the output."""
        given = [each for name, value in (variables or {}).items() for each in ("-e", f"{name}={value}")]
        done = self._call("podman", "exec", *given, container, *command, check=False)
        return done.returncode, done.stdout + done.stderr

    def stop(self, container: str) -> None:
        self.podman("rm", "-f", "-t", "15", container, check=False)
        self.containers.remove(container)

    def clean(self) -> None:
        """Remove containers, volumes and untagged images."""
        for container in [*self.containers]:
            self.stop(container)
        self.podman("volume", "rm", "--all", "--force", check=False)


def memory_of(pid: int) -> int:
    """Return the memory (PSS, in bytes) of a process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(row.split()[1]) * 1024 for row in rows if row.startswith("Pss:"))
    return own + sum(memory_of(int(child)) for child in children)
