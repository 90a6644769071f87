"""Access lists: who can open an application, and what a person can open. Computed from sets, not requests.

A person can open a path scope if one of its rules can admit the person with some method, from some network.
A required second factor counts as given. A property test compares this with `decide`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from authgate.decision.rules import Application, Rule, Scope, Who
from authgate.decision.target import BadTarget, method_from
from authgate.worker import loader

EVERYONE, SIGNED_IN, DIRECT, GROUP = "everyone", "signed in", "direct", "group"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a person can open a scope: the rule, and the way in which it names the person.

    `group` is an id for GROUP. `until` is the end of the membership, if it has one.
    """

    rule: int
    kind: str
    group: int | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """Active users by id, and the active members of each group.

    `ends` contains the ends of memberships, by group and user.
    """

    users: Mapping[int, str]
    names: Mapping[int, str]
    groups: Mapping[int, str]
    members: Mapping[int, frozenset[int]]
    ends: Mapping[tuple[int, int], datetime] = field(default_factory=dict)

    def groups_of(self, user: int) -> frozenset[int]:
        return frozenset(group for group, members in self.members.items() if user in members)


FEW = 500
"""Users, at most, that a query names one by one."""


def load_directory(only: Collection[int] | None = None) -> Directory:
    """Return active users, groups and memberships: all, or at least those of `only`. Three queries."""
    users = get_user_model()
    rows = users._default_manager.filter(is_active=True).values_list("pk", "username", "display_name")
    memberships = users.groups.through._default_manager.values_list("user_id", "group_id", "ends_at")
    if only is not None and len(only) < FEW:
        rows, memberships = rows.filter(pk__in=only), memberships.filter(user__in=only)
    usernames: dict[int, str] = {}
    names: dict[int, str] = {}
    for key, username, name in rows.order_by("username"):
        usernames[key], names[key] = username, name
    groups = dict(Group.objects.values_list("pk", "name"))
    return directory(usernames, names, groups, memberships)


def directory(
    usernames: Mapping[int, str],
    names: Mapping[int, str],
    groups: Mapping[int, str],
    memberships: Iterable[tuple[int, int, datetime | None]],
) -> Directory:
    """Return a directory of active users, with their memberships as (user, group, end)."""
    members: dict[int, set[int]] = {}
    ends: dict[tuple[int, int], datetime] = {}
    for user, group, ends_at in memberships:
        if user in usernames:
            members.setdefault(group, set()).add(user)
            if ends_at is not None:
                ends[group, user] = ends_at
    frozen = {key: frozenset(found) for key, found in members.items()}
    return Directory(usernames, names, groups, frozen, ends)


def scopes_of(application: Application) -> list[Scope]:
    """Return the scopes of an application as administrators wrote them, by path."""
    found = {(scope.path, scope.exact): scope for scope in application.scopes.values()}
    return [found[key] for key in sorted(found)]


def openers(application: Application, scope: Scope, people: Directory, now: float) -> dict[int, list[Reason]]:
    """Return the users who can open a scope, with all reasons for each. `now` is Unix time."""
    found: dict[int, list[Reason]] = {}
    for rule in scope.rules if application.enabled else ():
        if can_admit(rule, now):
            for user, reason in _admitted(rule, people):
                found.setdefault(user, []).append(reason)
    return found


def is_public(application: Application, scope: Scope, now: float) -> bool:
    """Return whether visitors who are not signed in can open a scope."""
    return application.enabled and any(
        rule.who is Who.EVERYONE and not needs_factor(rule) and can_admit(rule, now) for rule in scope.rules
    )


def needs_factor(rule: Rule) -> bool:
    return rule.second_factor or rule.proof is not None


def can_admit(rule: Rule, now: float) -> bool:
    """Return whether a rule can admit any request now, with some method and from some network."""
    if not rule.readable or (rule.expires_at is not None and now >= rule.expires_at):
        return False
    return rule.networks != () and (rule.methods is None or any(map(is_possible_method, rule.methods)))


def is_possible_method(method: str) -> bool:
    """Return whether a request can have a method. HEAD cannot occur, because the check reads it as GET."""
    try:
        return method_from(method) != "HEAD"
    except BadTarget:
        return False


def admitted(rule: Rule, people: Directory) -> Set[int]:
    """Return the users that a rule names, directly or by a group. `can_admit` tests its other criteria."""
    if rule.who is not Who.CHOSEN:
        return people.users.keys()
    by_group = (people.members.get(group, frozenset()) for group in rule.groups)
    return (rule.users & people.users.keys()).union(*by_group)


def _admitted(rule: Rule, people: Directory) -> Iterator[tuple[int, Reason]]:
    if rule.who is not Who.CHOSEN:
        reason = Reason(rule.id, EVERYONE if rule.who is Who.EVERYONE else SIGNED_IN)
        yield from ((user, reason) for user in people.users)
        return
    direct = Reason(rule.id, DIRECT)
    yield from ((user, direct) for user in sorted(rule.users) if user in people.users)
    for group in sorted(rule.groups):
        by_group = Reason(rule.id, GROUP, group)
        for user in people.members.get(group, ()):
            until = people.ends.get((group, user))
            yield user, by_group if until is None else replace(by_group, until=until)


def openings(
    user: int, people: Directory, now: float, applications: Iterable[Application] | None = None
) -> list[tuple[Application, Scope, list[Reason]]]:
    """Return all scopes that a user can open, with the reasons. Three queries without `applications`."""
    alone = Directory(
        {user: people.users[user]} if user in people.users else {},
        people.names,
        people.groups,
        {group: frozenset({user}) for group in people.groups_of(user)},
        people.ends,
    )
    return [
        (application, scope, reasons[user])
        for application in (loader.load_applications() if applications is None else applications)
        for scope in scopes_of(application)
        if user in (reasons := openers(application, scope, alone, now))
    ]


def everybody(
    applications: Iterable[Application], people: Directory, now: float
) -> Iterator[tuple[Application, Scope, int, list[Reason]]]:
    """Yield each scope with each user who can open it, and the reasons."""
    for application in applications:
        for scope in scopes_of(application):
            for user, reasons in openers(application, scope, people, now).items():
                yield application, scope, user, reasons
