"""The compiler of an application for checks: it groups the rules by path."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from authgate.decision.paths import composed, folded, has_one_variant, variants
from authgate.decision.rules import Application, Rule, Scope
from authgate.decision.target import BadTarget


def application_of(
    *,
    id: int,
    name: str,
    rules: Iterable[tuple[str, bool, Rule]],
    enabled: bool = True,
    **wishes: Any,
) -> Application:
    """Compile an application. `rules` have a path, whether only that exact path is meant, and the rule."""
    by_scope: dict[tuple[str, bool], list[Rule]] = {}
    for path, exact, rule in rules:
        paths = _paths_claimed(path)
        for claimed in paths:
            # A path that can be read in several ways claims all readings and grants none.
            claims = rule if len(paths) == 1 else replace(rule, readable=False)
            by_scope.setdefault((claimed, exact), []).append(claims)
    scopes: dict[tuple[str, bool], Scope] = {}
    by_folded = scopes  # the same object until a path has several spellings, which is rare
    for claim, scope_rules in by_scope.items():
        path, exact = claim
        scope = Scope(path, exact, tuple(scope_rules))
        if has_one_variant(path):
            scopes[claim] = by_folded[claim] = scope
            continue
        if by_folded is scopes:
            by_folded = dict(scopes)
        for spelling in _spellings(path):
            scopes[spelling, exact] = scope
            by_folded[folded(spelling), exact] = scope
    every = scopes if by_folded is scopes else (*scopes, *by_folded)
    return Application(
        id=id,
        name=name,
        enabled=enabled,
        scopes=scopes,
        folded=by_folded,
        longest=max([len(path) for path, _ in every], default=0),
        is_case_sensitive=by_folded is not scopes and scopes.keys() != by_folded.keys(),
        **wishes,
    )


def _spellings(path: str) -> set[str]:
    """Return all spellings of a path: as written, and as browsers and stricter programs encode it.

    Both the composed and the decomposed Unicode form count.
    """
    found = {path}
    for form in {path, unicodedata.normalize("NFD", path)}:
        found |= {quote(form, safe="/!$&'()*+,:=@~[]^|"), quote(form, safe="/!$&'()*+,:=@~")}
    return found


@lru_cache(maxsize=4096)
def _paths_claimed(path: str) -> tuple[str, ...]:
    """Return the path that a rule covers. A path that `full_clean` would refuse may have several readings."""
    if has_one_variant(path):
        return (path,)
    slashed = composed(path if path.startswith("/") else f"/{path}")
    try:
        return variants(slashed.rstrip("/") or "/")
    except BadTarget:
        return (slashed, slashed.partition("#")[0] or "/")
