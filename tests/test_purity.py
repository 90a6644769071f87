"""What the check may import, and how much code it passes through. `.importlinter` holds the rest."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECK = sorted((ROOT / "authgate" / "check").glob("*.py"))
PURE = (
    *(f"check.{path.stem}" for path in CHECK if path.stem != "__init__"),
    "network_limits",
    "redirect_targets",
    "worker.head_cache",
    "worker.head_parts",
    "worker.memory",
    "worker.rule_compiler",
    "worker.tallies",
)
LINES_OF_CODE, LINES_OF_A_FUNCTION = 1_790, 40


def file_of(module: str) -> Path:
    """Return the file of a module of authgate, named from there."""
    return ROOT / "authgate" / f"{module.replace('.', '/')}.py"


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, except those for type checkers only."""
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


@pytest.mark.parametrize("path", CHECK, ids=lambda path: path.stem)
def test_the_check_imports_itself_and_the_standard_library_alone(path: Path) -> None:
    ours = {name for name in imports(path) if name.startswith("authgate")}
    foreign = {name for name in imports(path) - ours if name.partition(".")[0] not in sys.stdlib_module_names}

    assert not foreign
    assert all(name.split(".")[:2] == ["authgate", "check"] for name in ours)


def lines_of_code(path: Path) -> int:
    """Return how many lines of a file hold code: more than a comment, a docstring or nothing."""
    text = path.read_text()
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    numbered = enumerate(text.splitlines(), 1)
    return sum(
        1 for n, line in numbered if n not in docstrings and line.strip(" #") and line.strip()[0] != "#"
    )


def test_the_check_is_short() -> None:
    lines = {path.stem: lines_of_code(path) for path in CHECK}

    assert sum(lines.values()) < LINES_OF_CODE, lines


@pytest.mark.parametrize("path", CHECK, ids=lambda path: path.stem)
def test_every_function_of_the_check_is_short(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]

    assert not {
        node.name: node.end_lineno - node.lineno + 1
        for node in functions
        if node.end_lineno and node.end_lineno - node.lineno >= LINES_OF_A_FUNCTION
    }


def test_the_way_through_the_check_is_told_in_one_place() -> None:
    told = (ROOT / "authgate" / "check" / "__init__.py").read_text()

    assert all(f"`{path.stem}`" in told for path in CHECK if path.stem != "__init__")
