"""Regular expressions of paths, as far as path scopes can express them.

A scope is all paths below `path` that no more specific scope claims, or one exact path. A pattern certainly
matches all paths of a scope, certainly matches none, or possibly matches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from django.core.exceptions import ValidationError

from authgate.validation import canonical_path

Scope = tuple[str, bool]
"""A path, and whether it is exact."""

ROOT: Scope = ("/", False)


class Match(Enum):
    NONE = 0
    POSSIBLE = 1
    CERTAIN = 2


class Kind(Enum):
    ALL = "every path"
    TREE = "a path and everything below"
    TREE_WITHOUT_QUERY = "a path without a query, and everything below"
    BELOW = "everything below a path"
    BEGINNING = "every path that begins so"
    EXACT = "exactly a path"
    EXACT_WITHOUT_QUERY = "exactly a path, without a query"
    UNKNOWN = "unknown, but it begins so"


@dataclass(frozen=True, slots=True)
class Pattern:
    kind: Kind
    path: str = ""

    def scopes(self) -> set[Scope]:
        """Return the scopes that separate matching paths from others."""
        if self.kind in (Kind.ALL, Kind.UNKNOWN):
            return set()
        if self.kind in (Kind.TREE, Kind.BEGINNING):
            return {(self.path, False)}
        if self.kind in (Kind.EXACT, Kind.EXACT_WITHOUT_QUERY):
            return {(self.path, True)}
        return {(self.path, True), (self.path, False)}

    def match(self, scope: Scope) -> Match:
        """Return whether the pattern matches the paths of a scope. The pattern's own scopes must exist."""
        if self.kind is Kind.ALL:
            return Match.CERTAIN
        return self._of_exact(scope[0]) if scope[1] else self._of_tree(scope[0])

    def _of_exact(self, path: str) -> Match:
        is_it, is_below = path == self.path, path.startswith(f"{self.path}/")
        if self.kind is Kind.UNKNOWN:
            could = path.startswith(self.path) or self.path.startswith(path)
            return Match.POSSIBLE if could else Match.NONE
        if self.kind is Kind.BEGINNING:
            return Match.CERTAIN if path.startswith(self.path) else Match.NONE
        if is_it and self.kind in (Kind.EXACT_WITHOUT_QUERY, Kind.TREE_WITHOUT_QUERY):
            return Match.POSSIBLE
        if is_it:
            return Match.CERTAIN if self.kind in (Kind.EXACT, Kind.TREE) else Match.NONE
        is_tree = self.kind in (Kind.TREE, Kind.TREE_WITHOUT_QUERY, Kind.BELOW)
        return Match.CERTAIN if is_below and is_tree else Match.NONE

    def _of_tree(self, path: str) -> Match:
        is_within = path == self.path or path.startswith(f"{self.path}/")
        if self.kind is Kind.UNKNOWN:
            could = path == "/" or path.startswith(self.path) or self.path.startswith(path)
            return Match.POSSIBLE if could else Match.NONE
        if self.kind is Kind.BEGINNING:
            if path.startswith(self.path):
                return Match.CERTAIN
            # /apix is not in the scope /api, but begins with it.
            return Match.POSSIBLE if path == "/" or self.path.startswith(f"{path}/") else Match.NONE
        if self.kind in (Kind.EXACT, Kind.EXACT_WITHOUT_QUERY):
            return Match.NONE
        return Match.CERTAIN if is_within else Match.NONE


EVERY = Pattern(Kind.ALL)

_LITERAL = re.compile(r"(?:[A-Za-z0-9/_~-]|\\[./_~-])*")
_EVERYTHING = frozenset(("", "^", ".*", "^.*", "^.*$", ".*$", "^/", "^/.*", "^/.*$", "/"))
_ALTERNATIVES = re.compile(
    r"\((?:\?:)?((?:[A-Za-z0-9/_~-]|\\[./_~-])+(?:\|(?:[A-Za-z0-9/_~-]|\\[./_~-])+)+)\)"
)
_TREE_TAILS = frozenset(
    ("([/?].*)?$", "(?:[/?].*)?$", "([/?]|$)", "(?:[/?]|$)", "($|[/?])", "([/?].*|$)", "(/|\\?|$)")
)
_SLASH_TAILS = frozenset(("(/.*)?$", "(?:/.*)?$", "(/.*|$)", "(/|$)", "(?:/|$)", "($|/)"))
_QUANTIFIERS = ("?", "*", "+", "{")
_OPEN_TAILS = frozenset(("", ".*", ".*$"))

MOST_ALTERNATIVES = 50


def patterns_of(regex: str, *, sees_query: bool) -> list[Pattern]:
    """Return patterns that together match what a regular expression matches.

    `sees_query`: the program matches it against the path with its query. `$` then excludes queries.
    """
    group = _ALTERNATIVES.search(regex)
    if group is None or not regex.startswith("^"):
        return [_pattern_of(regex, sees_query)]
    before, after, choices = regex[: group.start()], regex[group.end() :], group[1].split("|")
    if before.endswith("\\") or after[:1] in _QUANTIFIERS or len(choices) > MOST_ALTERNATIVES:
        return [_pattern_of(regex, sees_query)]
    return [
        each for choice in choices for each in patterns_of(f"{before}{choice}{after}", sees_query=sees_query)
    ]


def _pattern_of(regex: str, sees_query: bool) -> Pattern:
    if regex in _EVERYTHING:
        return EVERY
    if not regex.startswith("^/"):
        return Pattern(Kind.UNKNOWN)
    found = _LITERAL.match(regex, 1)
    text = found[0] if found else ""
    tail = regex[1 + len(text) :]
    literal = text.replace("\\", "")
    known = _known(literal, tail, sees_query)
    if known is not None and _is_scope(known.path):
        return known
    if "|" in _outside_groups(tail):
        return Pattern(Kind.UNKNOWN)
    # The quantifier makes the last character optional, or repeats it.
    return Pattern(Kind.UNKNOWN, literal[:-1] if tail[:1] in _QUANTIFIERS else literal)


def _known(literal: str, tail: str, sees_query: bool) -> Pattern | None:
    path = literal.rstrip("/") if literal.endswith("/") else literal
    is_folder = literal.endswith("/")
    if tail in _OPEN_TAILS:
        return Pattern(Kind.BELOW if is_folder else Kind.BEGINNING, path)
    if is_folder and literal != "/":
        return None
    if tail == "$":
        return Pattern(Kind.EXACT_WITHOUT_QUERY if sees_query else Kind.EXACT, path or "/")
    if tail in _TREE_TAILS:
        return Pattern(Kind.TREE, path)
    if tail in _SLASH_TAILS:
        return Pattern(Kind.TREE_WITHOUT_QUERY if sees_query else Kind.TREE, path)
    return None


def _outside_groups(tail: str) -> str:
    """Return a regular expression without its groups and character classes."""
    shorter = re.sub(r"\\.", "", tail)
    shorter = re.sub(r"\[[^\]]*\]", "", shorter)
    while (next_one := re.sub(r"\([^()]*\)", "", shorter)) != shorter:
        shorter = next_one
    return shorter


def _is_scope(path: str) -> bool:
    """Return whether a rule can have this path exactly as it is written."""
    try:
        return canonical_path(path) == path
    except ValidationError:
        return False
