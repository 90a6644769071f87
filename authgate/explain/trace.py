"""The trace of a decision: the result of `decide` for each path variant and for each rule alone.

The rules are not implemented a second time here. `decide` gets an application with only the part in question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from authgate.decision.evaluation import decide
from authgate.decision.paths import composed, folded, variants
from authgate.decision.rules import Application, Rule, Scope, Subject, Verdict, Who, without_maintenance
from authgate.decision.target import BadTarget, Target
from authgate.factor_policy import ANY_FACTOR, PASSKEY

Scopes = dict[tuple[str, bool], Scope]


@dataclass(frozen=True, slots=True)
class Variant:
    """A path variant, the scope that covers it, and the verdict there. A scope of None means "no rule"."""

    path: str
    scope: Scope | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class TracedRule:
    """A rule, whether its scope decides, and the criteria that fail, in the order of the check."""

    rule: int
    path: str
    exact: bool
    decides: bool
    verdict: Verdict
    lacking: tuple[str, ...] = ()


def variants_of(
    application: Application, target: Target, subject: Subject | None, now: float
) -> tuple[Variant, ...]:
    """Return the path variants. If several have the same scope and verdict, return only the first.

    Return none if the path cannot be read safely. If the contract sends no path, return each scope.
    """
    if target.path is None:
        every = _each_scope(application, target, subject, now)
        return tuple(every)
    try:
        paths = variants(target.path)
    except BadTarget:
        return ()
    found: dict[tuple[int, Verdict], Variant] = {}
    for path in paths:
        for scopes, text in ((application.scopes, composed(path)), (application.folded, folded(path))):
            variant = _decide_for(application, scopes, text, target, subject, now)
            found.setdefault((id(variant.scope), variant.verdict), variant)
    return tuple(found.values())


def _each_scope(
    application: Application, target: Target, subject: Subject | None, now: float
) -> list[Variant]:
    found = []
    for scope in dict.fromkeys(map(id, application.scopes.values())):
        one = next(each for each in application.scopes.values() if id(each) == scope)
        verdict = _decided(application, {("/", False): one}, "/", target, subject, now)
        found.append(Variant(one.path, one, verdict))
    if ("/", False) not in application.scopes:
        found.append(Variant("/", None, Verdict.REFUSE))
    return found


def _decide_for(
    application: Application, scopes: Scopes, path: str, target: Target, subject: Subject | None, now: float
) -> Variant:
    """Return the result of `decide` for a path that has only one reading."""
    numbered = list(scopes.values())
    markers = {key: Scope(key[0], key[1], (Rule(number, Who.EVERYONE),)) for number, key in enumerate(scopes)}
    alone = _alone(application, markers)
    number = decide(alone, target._replace(uri=path, plain_path=path), None, now).rule
    verdict = _decided(application, scopes, path, target, subject, now)
    return Variant(path, None if number is None else numbered[number], verdict)


def _decided(
    application: Application, scopes: Scopes, path: str, target: Target, subject: Subject | None, now: float
) -> Verdict:
    asked = target._replace(uri=path, plain_path=path)
    return decide(_alone(application, scopes), asked, subject, now).verdict


def _alone(application: Application, scopes: Scopes) -> Application:
    longest = max([len(path) for path, _ in scopes], default=0)
    open_one = without_maintenance(application)
    return replace(
        open_one, enabled=True, scopes=scopes, folded=scopes, longest=longest, is_case_sensitive=False
    )


def rules_of(
    application: Application, target: Target, subject: Subject | None, now: float
) -> tuple[TracedRule, ...]:
    """Return all rules of an application. Rules of deciding scopes come first."""
    deciding = {id(variant.scope) for variant in variants_of(application, target, subject, now)}
    traced: dict[tuple[int, str, bool], TracedRule] = {}
    for scope in (*application.scopes.values(), *application.folded.values()):
        for rule in scope.rules:
            verdict, lacking = _lacking(application, rule, target, subject, now)
            found = TracedRule(rule.id, scope.path, scope.exact, id(scope) in deciding, verdict, lacking)
            traced.setdefault((rule.id, scope.path, scope.exact), found)
    return tuple(sorted(traced.values(), key=lambda each: (not each.decides, each.path, each.rule)))


RELAXED: dict[str, dict[str, Any]] = {
    "expired": {"expires_at": None},
    "method": {"methods": None},
    "network": {"networks": None},
    "nobody chosen": {"who": Who.SIGNED_IN},
    "group": {"who": Who.SIGNED_IN},
    "second factor": {"second_factor": False},
    ANY_FACTOR: {"proof": None},
    PASSKEY: {"proof": None},
}
"""A rule's fields without the criterion that failed. The others cannot be taken from a rule."""


def _lacking(
    application: Application, rule: Rule, target: Target, subject: Subject | None, now: float
) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict of a single rule, and the criteria that fail, in the order of the check."""
    first: Verdict | None = None
    lacking: list[str] = []
    while True:
        alone = _alone(application, {("/", False): Scope("/", False, (rule,))})
        decision = decide(alone, target._replace(uri="/", plain_path="/"), subject, now)
        first = first or decision.verdict
        if decision.verdict is Verdict.ALLOW:
            return first, tuple(lacking)
        criterion = decision.failed[0][1]
        lacking.append(criterion)
        if criterion == "not signed in":
            lacking += ["group"] * (rule.who is Who.CHOSEN) + ["second factor"] * rule.second_factor
            lacking += [rule.proof[0]] if rule.proof else []
        if criterion not in RELAXED:
            return first, tuple(lacking)
        rule = replace(rule, **RELAXED[criterion])
