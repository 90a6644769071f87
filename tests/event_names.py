"""The machine names of events and reasons that the code can write, found by reading the code.

A name that is composed at run time is a template, with `{}` for each part that is unknown here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("accounts", "authgate", "openid", "ikd_portal")

KIND_WRITERS = {"record": 0, "record_own": 0, "record_by": 1}
"""Functions that write audit events, with the argument for the kind. Functions that pass it on are found."""

REASONS_OF_PROVIDERS = {
    "ProviderError": 0,
    "_SignInEnded": 0,
    "end_session": 1,
    "end_sessions": 1,
    "_record_once": 3,
}
REASONS_OF_TOKENS = "the {} {}"
"""How the verifier of tokens composes a reason from a token's name and its fault."""

REASONS_OF_CONFIGURATION = {"BadTarget": 0, "misconfigured": 2, "note_configuration": 2}


@cache
def modules() -> dict[Path, ast.Module]:
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {path: ast.parse(path.read_text()) for path in paths if "migrations" not in path.parts}


@cache
def constants() -> dict[str, set[str]]:
    """Return the texts that each name has at the top level of any module."""
    found: dict[str, set[str]] = {}
    for tree in modules().values():
        for node in tree.body:
            if isinstance(node, ast.Assign):
                for name, value in _pairs(node):
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        found.setdefault(name, set()).add(value.value)
    return found


def _pairs(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for each, value in zip(target.elts, node.value.elts, strict=True):
                if isinstance(each, ast.Name):
                    yield each.id, value


def texts_of(node: ast.expr | None) -> set[str]:
    """Return the possible values of an expression, as far as they are literal text in the code."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) and node.value else set()
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        return {"".join(map(str, parts))}
    if isinstance(node, ast.IfExp):
        return texts_of(node.body) | texts_of(node.orelse)
    if isinstance(node, ast.BoolOp):
        return set().union(*map(texts_of, node.values))
    if isinstance(node, ast.Name):
        return constants().get(node.id, set())
    if isinstance(node, ast.Attribute):
        return constants().get(node.attr, set())
    return set()


Functions = dict[tuple[Path | None, str], int]
"""The position of the argument in each function, by module and name. None stands for any module."""


def calls(functions: Functions) -> Iterator[tuple[ast.Call, ast.expr | None]]:
    """Yield each call of these functions with the argument at that position."""
    for path, nodes in _calls().items():
        for node in nodes:
            if (place := _place(functions, path, node)) is not None:
                yield node, node.args[place] if len(node.args) > place else None


@cache
def _calls() -> dict[Path, list[ast.Call]]:
    return {
        path: [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for path, tree in modules().items()
    }


def _place(functions: Functions, path: Path, node: ast.Call) -> int | None:
    name = _called(node)
    return functions.get((path, name), functions.get((None, name)))


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def of_any_module(places: dict[str, int]) -> Functions:
    return {(None, name): place for name, place in places.items()}


@cache
def emitters() -> Functions:
    """Return the functions that receive a kind of event as an argument, and its position."""
    found = of_any_module(KIND_WRITERS)
    for _ in range(3):  # a function may call another such function, so this repeats
        for path, function, called in _functions():
            if (None, function.name) not in found:
                place = _passes_on(function, called, path, found)
                if place is not None:
                    found[path, function.name] = place
    return found


@cache
def _functions() -> list[tuple[Path, ast.FunctionDef, list[ast.Call]]]:
    """Return all functions, each with the calls in it."""
    return [
        (path, function, [node for node in ast.walk(function) if isinstance(node, ast.Call)])
        for path, tree in modules().items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
    ]


def _passes_on(
    function: ast.FunctionDef, called: list[ast.Call], path: Path, writers: Functions
) -> int | None:
    parameters = [each.arg for each in function.args.args]
    for node in called:
        if (place := _place(writers, path, node)) is not None:
            kind = node.args[place] if len(node.args) > place else None
            if isinstance(kind, ast.Name) and kind.id in parameters:
                return parameters.index(kind.id) - (parameters[0] == "self")
    return None


@cache
def kinds() -> set[str]:
    """Return the kind of every audit event that the code can write."""
    found = {"refused"}  # refusals are written as rows in bulk
    for _call, kind in calls(emitters()):
        found |= {text for text in texts_of(kind) if text.replace("_", "").isalpha() and text.islower()}
    found |= constants()["SIGN_INS"] | constants()["MAILS"]  # default values of a parameter
    return found


@cache
def audit_reasons() -> set[str]:
    """Return every reason that an audit event can have, except the reasons of decisions."""
    found: set[str] = set()
    for _call, reason in calls(of_any_module(REASONS_OF_PROVIDERS)):
        found |= texts_of(reason)
    for call, _kind in calls(emitters()):
        for keyword in call.keywords:
            if keyword.arg == "reason":
                found |= texts_of(keyword.value)
    found |= _texts_assigned("reason") | {f"the {{}} {ending}" for ending in _faults_of_tokens()}
    return {text for text in found if " " in text and text != REASONS_OF_TOKENS}


def reasons_of_requests() -> set[str]:
    """Return every reason for which a request to another server can fail."""
    path = ROOT / "accounts" / "upstreams" / "http_client.py"
    return set().union(*(texts_of(reason) for _call, reason in calls({(path, "ProviderError"): 0})))


def _faults_of_tokens() -> set[str]:
    """Return the text of the token verifier for each exception, such as "has expired"."""
    tables = (
        node.value.values
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "_REASONS"
        if isinstance(node.value, ast.Dict)
    )
    return {text for values in tables for value in values for text in texts_of(value)}


def _texts_assigned(name: str) -> set[str]:
    return {
        text
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == name for target in node.targets)
        for text in texts_of(node.value)
    }


@cache
def decisions() -> set[str]:
    """Return every reason of a decision, and every criterion of a rule that can fail."""
    folder = ROOT / "authgate" / "decision"
    found = constants()["IDENTITY_TOO_LONG"] | constants()["TOKENS_TOO_LONG"]
    for node in chain.from_iterable(ast.walk(modules()[path]) for path in folder.glob("*.py")):
        if isinstance(node, ast.Call) and _called(node) == "Decision" and len(node.args) > 1:
            found |= texts_of(node.args[1])
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            verdict, *criterion = node.value.elts
            if getattr(verdict, "id", "") in ("REFUSE", "SIGN_IN", "STEP_UP"):
                found |= texts_of(criterion[0])
    return found


@cache
def configuration_reasons() -> set[str]:
    """Return every reason of a configuration event. It is a template if a part is filled in."""
    found: set[str] = (
        constants()["IDENTITY_TOO_LONG"] | constants()["TOKENS_TOO_LONG"] | constants()["NO_RULE"]
    )
    for _call, reason in calls(of_any_module(REASONS_OF_CONFIGURATION)):
        found |= texts_of(reason)
    query = modules()[ROOT / "authgate" / "check" / "query.py"]
    for node in ast.walk(query):
        if isinstance(node, ast.FunctionDef) and node.name == "_filters_from":
            found |= set().union(
                *(texts_of(each.value) for each in ast.walk(node) if isinstance(each, ast.Return))
            )
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "fault":
            found |= texts_of(node.value)
    return found
