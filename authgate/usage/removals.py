"""The removal of access that nobody used: exactly the access that one finding of `tightening` names.

The caller tests permissions and shows who is affected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from django.contrib.auth import get_user_model

from authgate.explain.access import DIRECT, GROUP, Directory, load_directory, openers, scopes_of
from authgate.journal.undo import MOST_ENTRIES
from authgate.models import Application, Rule
from authgate.sign_ins import note_revocation
from authgate.usage.requests import last_uses, totals_by_rule
from authgate.usage.tightening import GROUP_OF_RULE, PEOPLE, RULE, Finding, findings
from authgate.worker import loader

ROWS_LIMIT = MOST_ENTRIES
"""Rows that one removal deletes at most, so that the journal can undo it as one change."""


@dataclass(frozen=True, slots=True)
class Removal:
    """The rows to remove for a finding: a rule, groups of rules, users of rules, and memberships.

    Each is a pair of ids: rule and group, rule and user, group and user. `left` counts people beyond
    ROWS_LIMIT. `kept` counts people that the requester may not change.
    """

    finding: Finding
    rule: int = 0
    groups: tuple[tuple[int, int], ...] = ()
    users: tuple[tuple[int, int], ...] = ()
    memberships: tuple[tuple[int, int], ...] = ()
    left: int = 0
    kept: int = 0

    @property
    def people(self) -> set[int]:
        """The ids of users who are removed from a rule or a group."""
        return {user for _from, user in (*self.users, *self.memberships)}

    def __bool__(self) -> bool:
        return bool(self.rule or self.groups or self.users or self.memberships)


def find(application: int, kind: str, rule: int, group: int, since: date) -> tuple[Finding, Directory] | None:
    """Return the present state of a finding, with all people; None if the access was used meanwhile."""
    compiled = loader.load_one(application)
    if compiled is None:
        return None
    people = load_directory()
    allowed = {key: counts[0] for key, counts in totals_by_rule(since, application=application).items()}
    uses = last_uses(application=application, since=since)
    for each in findings([compiled], people, allowed, uses, time.time()):
        if each.kind == kind and (kind == PEOPLE or each.rule == rule) and each.group == group:
            return each, people
    return None


def removal_of(finding: Finding, people: Directory, may_change: Callable[[int], bool]) -> Removal:
    """Return the rows to remove for a finding. A user keeps access if `may_change` is false for the user."""
    if finding.kind == RULE:
        return Removal(finding, rule=finding.rule)
    if finding.kind == GROUP_OF_RULE:
        return Removal(finding, groups=((finding.rule, finding.group),))
    users: list[tuple[int, int]] = []
    memberships: list[tuple[int, int]] = []
    ways = _grants_by_user(finding, people)
    left = kept = 0
    for person in sorted(finding.people, key=lambda key: people.users[key]):
        direct, by_group = ways.get(person, (set(), set()))
        if left or len(users) + len(memberships) + len(direct) + len(by_group) > ROWS_LIMIT:
            left += 1
        elif not may_change(person):
            kept += 1
        else:
            users += [(rule, person) for rule in sorted(direct)]
            memberships += [(group, person) for group in sorted(by_group)]
    return Removal(finding, users=tuple(users), memberships=tuple(memberships), left=left, kept=kept)


def _grants_by_user(finding: Finding, people: Directory) -> dict[int, tuple[set[int], set[int]]]:
    """Return the rules that name each user, and each user's groups in rules, by user."""
    found: dict[int, tuple[set[int], set[int]]] = {}
    for scope in scopes_of(finding.application):
        for user, reasons in openers(finding.application, scope, people, time.time()).items():
            direct, by_group = found.setdefault(user, (set(), set()))
            direct |= {reason.rule for reason in reasons if reason.kind == DIRECT}
            by_group |= {reason.group for reason in reasons if reason.kind == GROUP and reason.group}
    return found


def remove(removal: Removal) -> None:
    """Delete the rows. The caller must be in a transaction, and must have tested the permissions."""
    note_revocation()
    Application.objects.select_for_update().get(pk=removal.finding.application.id)
    if removal.rule:
        Rule.objects.filter(pk=removal.rule).delete()
    for rule in _rules(removal):
        rule.groups.remove(*(group for key, group in removal.groups if key == rule.pk))
        rule.users.remove(*(user for key, user in removal.users if key == rule.pk))
    users = get_user_model()._default_manager.in_bulk({user for _group, user in removal.memberships})
    for key, user in users.items():
        user.groups.remove(*(group for group, member in removal.memberships if member == key))


def _rules(removal: Removal) -> Iterator[Rule]:
    keys = {rule for rule, _other in (*removal.groups, *removal.users)}
    yield from Rule.objects.filter(pk__in=keys).order_by("pk")
