"""What may import what, and how much code a check passes through."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = (
    "check",
    "contracts",
    "target",
    "cookies",
    "decision",
    "answer",
    "state",
    "memory",
    "network_limits",
    "redirects",
    "credentials",
    "heads",
)
WAY_OF_A_CHECK = (
    "check",
    "contracts",
    "target",
    "cookies",
    "decision",
    "answer",
    "state",
    "memory",
    "credentials",
)
STANDARD_LIBRARY_ALONE = ("target", "decision", "cookies", "state", "redirects")


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
def test_the_pure_part_imports_nothing_beside_itself_and_the_standard_library(module: str) -> None:
    foreign = {
        name
        for name in imports(ROOT / "authgate" / f"{module}.py")
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith("authgate")
    }
    ours = {
        name.split(".")[1]
        for name in imports(ROOT / "authgate" / f"{module}.py")
        if name.startswith("authgate.")
    }

    assert not foreign
    assert ours <= set(PURE)


@pytest.mark.parametrize("path", sorted((ROOT / "authgate").glob("*.py")), ids=lambda path: path.stem)
def test_the_gate_never_imports_the_pages_of_accounts(path: Path) -> None:
    pages = ("accounts.views", "accounts.urls", "accounts.forms", "accounts.adapter", "accounts.admin")

    assert not {name for name in imports(path) if name.startswith(pages)}


@pytest.mark.parametrize("path", sorted((ROOT / "authgate").glob("*.py")), ids=lambda path: path.stem)
def test_the_gate_knows_no_server(path: Path) -> None:
    if path.stem != "front":
        assert not {
            name for name in imports(path) if name.partition(".")[0] in ("uvicorn", "gunicorn", "a2wsgi")
        }


def test_the_way_of_a_check_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {
        name: len((ROOT / "authgate" / f"{name}.py").read_text().splitlines()) for name in WAY_OF_A_CHECK
    }
    with capsys.disabled():
        print(f"\nlines that a check passes through: {sum(lines.values())} ({lines})")

    assert sum(lines.values()) < 2_700
