"""Converts ordered rules, where the first match decides, to rules of the portal, which only grant.

A rule grants at the strictest level of itself and all earlier rules that may apply to the same users. If one
of these denies, it grants nothing. No user gains access, and lost access is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ikd_portal.conversion.network_cells import Cell, Network, cells_of
from ikd_portal.conversion.path_patterns import EVERY, ROOT, Match, Pattern, Scope
from ikd_portal.conversion.report import Report

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"),
    *("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "UNLOCK"),
)
"""Methods to list if a rule applies to all methods except some."""

OTHERS = ""
"""Stands for all methods that no rule names."""

MOST_SCOPES = 500
MOST_CELLS = 500


class Level(IntEnum):
    """What a rule requires, mildest first."""

    BYPASS = 0
    ONE_FACTOR = 1
    TWO_FACTOR = 2
    DENY = 3


Subject = tuple[str, str]
"""`user` or `group`, and the name."""

Subjects = frozenset[Subject] | None
"""Any of these subjects, or None for everybody."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule of the other program, for one host. A criterion that is None always holds.

    `is_certain` is false if the rule has a criterion that the portal cannot express. Then it may apply or
    not.
    """

    line: int
    level: Level
    patterns: tuple[Pattern, ...] = (EVERY,)
    methods: frozenset[str] | None = None
    networks: tuple[Network, ...] | None = None
    subjects: Subjects = None
    is_certain: bool = True

    def match(self, scope: Scope, method: str, holds_in_network: bool) -> Match:
        if not holds_in_network or (self.methods is not None and method not in self.methods):
            return Match.NONE
        found = max((each.match(scope) for each in self.patterns), key=lambda match: match.value)
        return Match.POSSIBLE if found is Match.CERTAIN and not self.is_certain else found


@dataclass(frozen=True, slots=True)
class Grant:
    subjects: Subjects
    level: Level

    def covers(self, other: Grant) -> bool:
        """Return whether this grant admits all users of the other grant."""
        if self.level > other.level:
            return False
        return self.subjects is None or (other.subjects is not None and other.subjects <= self.subjects)


@dataclass(frozen=True, slots=True)
class _Block:
    """A grant with the methods and addresses for which it holds."""

    grant: Grant
    methods: frozenset[str]
    cells: frozenset[Cell]

    def covers(self, other: _Block) -> bool:
        is_wider = self.methods >= other.methods and self.cells >= other.cells
        return is_wider and self.grant.covers(other.grant)


def _without_covered(blocks: list[_Block]) -> list[_Block]:
    return [each for each in blocks if not any(other != each and other.covers(each) for other in blocks)]


Grants = frozenset[Grant]
Values = dict[str, Any]


def converted(
    policies: Sequence[Policy], default: Policy, report: Report, *, is_ordered: bool
) -> list[Values]:
    """Return the rules of one host as values of a configuration file.

    `is_ordered`: the first matching rule decides. Otherwise any of the matching rules may decide.
    """
    return _Conversion(policies, default, report, is_ordered).rules()


class _Conversion:
    def __init__(self, policies: Sequence[Policy], default: Policy, report: Report, is_ordered: bool) -> None:
        self.policies, self.default, self.report, self.is_ordered = policies, default, report, is_ordered
        self.cells = cells_of([each.networks for each in policies])
        named = {method for each in policies for method in each.methods or ()}
        self.methods = sorted({*named, *(("GET", "HEAD") if named else ()), OTHERS})

    def rules(self) -> list[Values]:
        scopes = {ROOT}.union(*(pattern.scopes() for each in self.policies for pattern in each.patterns))
        if len(scopes) > MOST_SCOPES or len(self.cells) > MOST_CELLS:
            self.report.note(0, "Too many paths or networks for one host. It admits nobody.")
            scopes = set()
        found: dict[Scope, list[Values]] = {}
        for scope in sorted(scopes, key=lambda each: (len(each[0]), each)):
            rules = self._rules_of(scope)
            if scope == ROOT or rules != found.get(_parent(scope, found), []):
                found[scope] = rules
        # A scope that admits nobody must still claim its paths. Otherwise the surrounding scope would decide.
        return [
            {"path": scope[0], "exact": scope[1], **rule}
            for scope, rules in found.items()
            for rule in rules or ([{}] if scope != ROOT else [])
        ]

    def _rules_of(self, scope: Scope) -> list[Values]:
        cells = {
            (cell, method): self._grants(scope, method, cell)
            for cell in self.cells
            for method in self.methods
        }
        if "HEAD" in self.methods:
            for cell in self.cells:
                head = cells.pop((cell, "HEAD"))
                cells[cell, "GET"] = self._both(cells[cell, "GET"], head)
        rules = [self._values(block) for block in _without_covered(self._blocks(cells))]
        return sorted(rules, key=repr)

    def _blocks(self, cells: dict[tuple[Cell, str], Grants]) -> list[_Block]:
        """Return the methods and addresses of each grant, as wide as possible."""
        blocks = []
        for grant in {grant for grants in cells.values() for grant in grants}:
            methods_in = {
                cell: frozenset(
                    method
                    for each, method in cells
                    if each is cell and any(other.covers(grant) for other in cells[each, method])
                )
                for cell in self.cells
            }
            for methods in {*methods_in.values()} - {frozenset()}:
                found = frozenset(cell for cell in self.cells if methods <= methods_in[cell])
                blocks.append(_Block(grant, methods, found))
        return blocks

    def _both(self, get: Grants, head: Grants) -> Grants:
        """Return the grants of GET that also hold for HEAD, because the portal's GET includes HEAD."""
        kept = frozenset(grant for grant in get if any(each.covers(grant) for each in head))
        kept |= frozenset(grant for grant in head if any(each.covers(grant) for each in get))
        if get - kept:
            text = "A rule is for GET and not for HEAD. Here GET includes HEAD, so it is not carried over."
            self.report.note(0, f"{text} Name both methods in it.")
        return kept

    def _grants(self, scope: Scope, method: str, cell: Cell) -> Grants:
        """Return who may access a scope with this method from these addresses."""
        found: list[Grant] = []
        matching = [
            (policy, match)
            for number, policy in enumerate(self.policies)
            if (match := policy.match(scope, method, number in cell.holds)) is not Match.NONE
        ]
        if not self.is_ordered:
            return self._intersection(matching)
        for number, (policy, match) in enumerate([*matching, (self.default, Match.CERTAIN)]):
            found += self._granted(policy, match, [each for each, _match in matching[:number]])
            if match is Match.CERTAIN and policy.subjects is None:
                break
        return frozenset(
            each for each in found if not any(other != each and other.covers(each) for other in found)
        )

    def _intersection(self, matching: Sequence[tuple[Policy, Match]]) -> Grants:
        """Return what every rule that may decide grants. Each of them decides for everybody."""
        deciding = [policy for policy, _match in matching]
        if all(match is not Match.CERTAIN for _policy, match in matching):
            deciding.append(self.default)
        subjects: Subjects = None
        for each in deciding:
            if each.subjects is not None:
                subjects = each.subjects if subjects is None else subjects & each.subjects
            if {(other.level, other.subjects) for other in deciding} != {(each.level, each.subjects)}:
                text = "Several rules may decide about the same requests. The strictest is carried over."
                self.report.note(each.line, text)
        level = max(each.level for each in deciding)
        is_nobody = level is Level.DENY or subjects == frozenset()
        return frozenset() if is_nobody else frozenset((Grant(subjects, level),))

    def _granted(self, policy: Policy, match: Match, rivals: list[Policy]) -> Iterator[Grant]:
        if policy.level is Level.DENY:
            return
        if match is not Match.CERTAIN:
            self.report.note(policy.line, "Not carried over where its criteria cannot be expressed.")
            return
        stricter = [each for each in rivals if each.level > policy.level and _may_overlap(each, policy)]
        level = max((each.level for each in stricter), default=policy.level)
        for each in stricter:
            lost = "it grants nothing there" if each.level is Level.DENY else "it asks for the same there"
            self.report.note(
                policy.line, f"The rule in line {each.line} may apply to the same people, so {lost}."
            )
        if level is not Level.DENY:
            yield Grant(policy.subjects, level)

    def _values(self, block: _Block) -> Values:
        grant, methods, cells = block.grant, block.methods, block.cells
        values: Values = {}
        every = {*self.methods} - {"HEAD"}
        if methods != every:
            rest = [each for each in METHODS if each not in self.methods and each != "HEAD"]
            values["methods"] = sorted({*(methods - {OTHERS}), *(rest if OTHERS in methods else ())})
        if len(cells) < len(self.cells):
            values["networks"] = sorted(network for cell in cells for network in cell.networks)
        if grant.level is Level.BYPASS and grant.subjects is None:
            return values | {"who": "everyone"}
        if grant.subjects is None:
            values["who"] = "signed_in"
        else:
            values["who"] = "chosen"
            values["groups"] = sorted(name for kind, name in grant.subjects if kind == "group")
            values["users"] = sorted(name for kind, name in grant.subjects if kind == "user")
        return values | ({"second_factor": True} if grant.level is Level.TWO_FACTOR else {})


def _may_overlap(one: Policy, other: Policy) -> bool:
    """Return whether a user can be a subject of both rules. A user may be in any groups."""
    if one.subjects is None or other.subjects is None:
        return True
    kinds = {kind for kind, _name in one.subjects | other.subjects}
    return kinds != {"user"} or bool(one.subjects & other.subjects)


def _parent(scope: Scope, scopes: dict[Scope, list[Values]]) -> Scope:
    """Return the scope that would decide about these paths if `scope` did not exist."""
    path, is_exact = scope
    if is_exact and (path, False) in scopes:
        return path, False
    while path and path != "/":
        path = path.rpartition("/")[0]
        if (path, False) in scopes:
            return path, False
    return ROOT
