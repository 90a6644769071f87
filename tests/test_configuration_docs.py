"""docs/configuration.md names every environment variable that the code reads, and no other."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ikd_portal", "accounts", "authgate", "openid", "demo")
READERS = {"env", "os.environ", "environ"}
NAMES_A_READER = re.compile(r"\benv\b|environ\b")
# Variables of Django, a shell or a server, not of the portal.
FOREIGN = {"CREDENTIALS_DIRECTORY", "DJANGO_SETTINGS_MODULE", "PATH", "XDG_DATA_HOME"}
ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (.+?) \| .+ \|$", re.MULTILINE)
UNKNOWN = object()


@cache
def _calls() -> list[tuple[str, object]]:
    """Return name and default of every variable that the code reads; UNKNOWN if the default is computed."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            # Parsing the others would take a second in each process that collects tests.
            for node in ast.walk(ast.parse(text)) if NAMES_A_READER.search(text) else ():
                found += _read_by(node)
    return found


def _read_by(node: ast.AST) -> list[tuple[str, object]]:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return []
    reader, method = ast.unparse(node.func.value), node.func.attr
    first = node.args[0] if node.args else None
    if reader not in READERS or not isinstance(first, ast.Constant) or method == "setdefault":
        return []
    defaults = [keyword.value for keyword in node.keywords if keyword.arg == "default"] or node.args[1:2]
    return [(str(first.value), _value(defaults[0]) if defaults else UNKNOWN)]


def _value(node: ast.expr) -> object:
    try:
        return eval(compile(ast.Expression(node), "default", "eval"), {"__builtins__": {}})
    except NameError:
        return UNKNOWN


def _documented() -> dict[str, str]:
    return dict(ROW.findall((ROOT / "docs" / "configuration.md").read_text()))


def _spelled(value: object) -> str:
    return f"`{','.join(value) if isinstance(value, list) else value}`"


def test_every_variable_that_the_code_reads_is_documented() -> None:
    read = {name for name, _ in _calls()} - FOREIGN

    assert read == set(_documented())


@pytest.mark.parametrize(
    ("name", "default"),
    sorted({(name, _spelled(value)) for name, value in _calls() if value not in (UNKNOWN, None, "", [])}),
)
def test_documented_defaults_are_those_of_the_code(name: str, default: str) -> None:
    if name in FOREIGN:
        return

    assert _documented()[name] == default


def test_variables_without_a_default_are_documented_without_one() -> None:
    without = {name for name, value in _calls() if value in ("", [])} - FOREIGN

    assert [name for name in without if _documented()[name].startswith("`")] == []
