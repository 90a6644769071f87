"""Wheel and sdist as pip would build them, and an installation of the wheel without a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AT = "1700000000"
"""The modification time of every file in the packages (SOURCE_DATE_EPOCH)."""


def build(source: Path, folder: Path, *options: str) -> None:
    """Build the packages of a source tree into a folder, with the build backend of `pyproject.toml`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *options],
        cwd=source,
        env=os.environ | {"SOURCE_DATE_EPOCH": AT},
        check=True,
        capture_output=True,
    )


def copy_of_checkout(folder: Path) -> Path:
    """Copy the files that git tracks into a folder. Returns the folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


@dataclass(frozen=True, slots=True)
class Installation:
    """A virtual environment with the wheel. Its dependencies are those of the tests' own Python."""

    folder: Path

    @classmethod
    def of(cls, wheel: Path, folder: Path) -> Installation:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        made = cls(folder)
        (made.packages / "tests.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
        pip = [sys.executable, "-m", "pip", "--python", str(made.python), "install", "-q"]
        subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
        return made

    @property
    def packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def command(self) -> str:
        return str(self.folder / "bin" / "ikd-portal")

    def environment(self, **more: str) -> dict[str, str]:
        """Return a small environment. Its PATH has the proxies that requirements-demo.txt installs."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return {"PATH": path, "HOME": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def run(self, *arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a folder to its end."""
        return subprocess.run(
            [self.command, *arguments],
            cwd=cwd,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=120,
        )
