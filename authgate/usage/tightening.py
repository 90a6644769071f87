"""Access that no real request used: rules, groups and people that administrators could remove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from authgate.decision.rules import Application, Rule, Scope, Who
from authgate.explain.access import DIRECT, GROUP, Directory, openers, scopes_of

RULE, GROUP_OF_RULE, PEOPLE = "rule", "group", "people"

LastUses = Mapping[tuple[int, int, int], date]
"""The last day of use, by application, person and rule. See `requests.last_uses`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Access that nobody used.

    RULE: a rule admitted nobody. GROUP_OF_RULE: a rule names a group, and no member of it used the rule's
    path. PEOPLE: rules name people, directly or by groups, who never opened the application.
    """

    kind: str
    application: Application
    scope: Scope | None = None
    rule: int = 0
    group: int = 0
    people: tuple[int, ...] = ()


def findings(
    applications: list[Application],
    people: Directory,
    allowed: Mapping[int, int],
    uses: LastUses,
    now: float,
) -> Iterator[Finding]:
    """Yield all unused access. `allowed` counts allowed requests by rule. `now` is Unix time.

    Disabled applications are left out.
    """
    by_person: dict[int, dict[int, set[int]]] = {}
    for application_id, person, rule in uses:
        by_person.setdefault(application_id, {}).setdefault(person, set()).add(rule)
    for application in applications:
        if application.enabled:
            used = by_person.get(application.id, {})
            yield from _in_application(application, people, allowed, used, now)


def _in_application(
    application: Application,
    people: Directory,
    allowed: Mapping[int, int],
    used: Mapping[int, set[int]],
    now: float,
) -> Iterator[Finding]:
    reported: set[int] = set()
    named: set[int] = set()
    for scope in scopes_of(application):
        rules = {rule.id for rule in scope.rules}
        users = {person for person, by in used.items() if by & rules}
        for rule in scope.rules:
            if rule.id in reported:
                continue
            if not allowed.get(rule.id):
                reported.add(rule.id)
                yield Finding(RULE, application, scope, rule.id)
            else:
                yield from _groups(application, scope, rule, people, users)
        for user, reasons in openers(application, scope, people, now).items():
            if any(reason.kind in (DIRECT, GROUP) for reason in reasons):
                named.add(user)
    never = tuple(sorted(named - used.keys()))
    if never:
        yield Finding(PEOPLE, application, people=never)


def _groups(
    application: Application, scope: Scope, rule: Rule, people: Directory, users: set[int]
) -> Iterator[Finding]:
    """Yield the groups of a rule that have members, if no member used the path."""
    for group in sorted(rule.groups) if rule.who is Who.CHOSEN else ():
        members = people.members.get(group, frozenset())
        if members and not members & users:
            yield Finding(GROUP_OF_RULE, application, scope, rule.id, group, tuple(sorted(members)))
