"""What the check may import, and how much code it passes through. `.importlinter` holds the rest."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = (
    "check.pipeline",
    "check.contracts",
    "check.target",
    "check.cookies",
    "check.decision",
    "check.responses",
    "check.state",
    "check.memory",
    "network_limits",
    "check.redirects",
    "check.credentials",
    "worker.head_cache",
)
WAY_OF_A_CHECK = (
    "check.pipeline",
    "check.contracts",
    "check.target",
    "check.cookies",
    "check.decision",
    "check.responses",
    "check.state",
    "check.memory",
    "check.credentials",
)
STANDARD_LIBRARY_ALONE = ("check.target", "check.decision", "check.cookies", "check.state", "check.redirects")


def file_of(module: str) -> Path:
    """Return the file of a module of authgate, named from there."""
    return ROOT / "authgate" / f"{module.replace('.', '/')}.py"


def imports(path: Path) -> set[str]:
    """Give the modules that a file imports, wherever in it; what only type checkers see is left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


@pytest.mark.parametrize("module", PURE)
def test_the_pure_part_imports_no_framework(module: str) -> None:
    code = (
        f"import sys, authgate.{module}; print([name for name in sys.modules "
        "if name.partition('.')[0] in ('django', 'allauth', 'redis', 'uvicorn', 'gunicorn')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", PURE)
def test_the_pure_part_imports_no_package_beside_the_standard_library(module: str) -> None:
    foreign = {
        name
        for name in imports(file_of(module))
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith("authgate")
    }

    assert not foreign


@pytest.mark.parametrize("path", sorted((ROOT / "authgate").rglob("*.py")), ids=lambda path: path.stem)
def test_the_gate_knows_no_server(path: Path) -> None:
    if path != file_of("endpoints.protocol"):
        assert not {
            name for name in imports(path) if name.partition(".")[0] in ("uvicorn", "gunicorn", "a2wsgi")
        }


def test_the_way_of_a_check_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {name: len(file_of(name).read_text().splitlines()) for name in WAY_OF_A_CHECK}
    with capsys.disabled():
        print(f"\nlines that a check passes through: {sum(lines.values())} ({lines})")

    assert sum(lines.values()) < 2_700
