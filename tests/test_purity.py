"""What the check may import, and the size of its code. `.importlinter` has the other rules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECK = sorted((ROOT / "authgate" / "check").glob("*.py"))
DECISION = sorted((ROOT / "authgate" / "decision").glob("*.py"))
PURE = (
    *(f"{path.parent.stem}.{path.stem}" for path in CHECK + DECISION if path.stem != "__init__"),
    "cookies",
    "network_limits",
    "redirect_targets",
    "worker.head_cache",
    "worker.head_parts",
    "worker.memory",
    "worker.rule_compiler",
    "worker.tallies",
)
LINES_OF_THE_CHECK, LINES_OF_A_FUNCTION = 2_000, 40


def file_of(module: str) -> Path:
    """Return the file of a module, which is named relative to authgate."""
    return ROOT / "authgate" / f"{module.replace('.', '/')}.py"


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, except for type checkers."""
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
def test_the_pure_part_imports_only_the_standard_library(module: str) -> None:
    foreign = {
        name
        for name in imports(file_of(module))
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith("authgate")
    }

    assert not foreign


@pytest.mark.parametrize("path", sorted((ROOT / "authgate").rglob("*.py")), ids=lambda path: path.stem)
def test_the_gate_imports_no_server(path: Path) -> None:
    if path != file_of("endpoints.protocol"):
        assert not {
            name for name in imports(path) if name.partition(".")[0] in ("uvicorn", "gunicorn", "a2wsgi")
        }


@pytest.mark.parametrize("path", CHECK + DECISION, ids=lambda path: path.stem)
def test_the_check_and_the_decision_import_only_the_standard_library(path: Path) -> None:
    ours = {name for name in imports(path) if name.startswith("authgate")}
    foreign = {name for name in imports(path) - ours if name.partition(".")[0] not in sys.stdlib_module_names}

    assert not foreign
    allowed = {"check", "decision", "cookies"} if path in CHECK else {"decision"}
    assert {name.split(".")[1] for name in ours} <= allowed


def test_the_check_is_short() -> None:
    lines = {path.stem: len(path.read_text().splitlines()) for path in CHECK}

    assert sum(lines.values()) < LINES_OF_THE_CHECK, lines


@pytest.mark.parametrize("path", CHECK + DECISION, ids=lambda path: path.stem)
def test_every_function_of_the_check_is_short(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]

    assert not {
        node.name: node.end_lineno - node.lineno + 1
        for node in functions
        if node.end_lineno and node.end_lineno - node.lineno >= LINES_OF_A_FUNCTION
    }


@pytest.mark.parametrize("files", [CHECK, DECISION], ids=["check", "decision"])
def test_one_place_lists_the_files_in_reading_order(files: list[Path]) -> None:
    listed = (files[0].parent / "__init__.py").read_text()

    assert all(f"`{path.stem}`" in listed for path in files if path.stem != "__init__")
