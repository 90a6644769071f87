"""The comparison of access in two states. It works on sets of people, so large groups stay fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, fields

from authgate.decision.rules import Application, Rule, Scope, Who
from authgate.decision.target import origins_claiming
from authgate.effect.values import EVERY_APPLICATION, Difference, Effect, Person
from authgate.explain.access import Directory, admitted, can_admit, is_public, scopes_of

Conditions = tuple[object, ...]
NOBODY: frozenset[int] = frozenset()
ScopeKey = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class State:
    """Applications by id, the application of each origin, and users with their groups.

    `owing` are users who need a second factor for every application.
    """

    applications: Mapping[int, Application]
    origins: Mapping[str, int]
    people: Directory
    superusers: Set[int] = NOBODY
    owing: Set[int] = NOBODY

    def owner_of(self, origin: str) -> int | None:
        """Return the id of the application that answers at an origin, or None. `origin` may be a wildcard."""
        return next((self.origins[each] for each in origins_claiming(origin) if each in self.origins), None)


@dataclass(frozen=True, slots=True)
class Access:
    """The people who can open a scope, by conditions, and whether visitors without a sign-in can open it."""

    by_conditions: dict[Conditions, Set[int]] = field(default_factory=dict)
    visitors: bool = False

    @property
    def people(self) -> Set[int]:
        return NOBODY.union(*self.by_conditions.values())


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a difference: a path scope of an application, at all origins or at one."""

    application: Application
    scope: ScopeKey
    rules: tuple[int, ...]
    is_whole: bool = False
    origin: str = ""


@dataclass(slots=True)
class _Found:
    before: State
    after: State
    now: float
    gained: list[Difference] = field(default_factory=list)
    lost: list[Difference] = field(default_factory=list)
    changed: list[Difference] = field(default_factory=list)
    closed: list[Difference] = field(default_factory=list)
    reopened: list[Difference] = field(default_factory=list)
    stricter: list[Difference] = field(default_factory=list)
    looser: list[Difference] = field(default_factory=list)


def compare(before: State, after: State, now: float) -> Effect:
    """Return the effect of a change between two states. `now` is Unix time."""
    found = _Found(before, after, now)
    change = _DirectoryChange.between(before.people, after.people)
    for key in _by_name(before, after):
        _compare_application(found, key, change)
        _compare_maintenance(found, key)
    _compare_origins(found)
    _compare_factors(found)
    parts = {each.name: sorted(getattr(found, each.name), key=_order) for each in fields(Effect)}
    return Effect(**{name: tuple(part) for name, part in parts.items()})


def _order(each: Difference) -> tuple[str, str, bool, str]:
    return each.name, each.path, each.exact, each.origin


def _by_name(before: State, after: State) -> list[int]:
    return sorted({*before.applications, *after.applications})


@dataclass(frozen=True, slots=True)
class _DirectoryChange:
    """Users who are active in one state only, and groups with different members."""

    users: Set[int]
    groups: Set[int]

    @classmethod
    def between(cls, before: Directory, after: Directory) -> _DirectoryChange:
        groups = {*before.members, *after.members}
        differing = {key for key in groups if before.members.get(key) != after.members.get(key)}
        return cls(before.users.keys() ^ after.users.keys(), differing)

    def concerns(self, scope: Scope | None) -> bool:
        """Return whether a scope with unchanged rules may be open to other people than before."""
        return scope is not None and any(self._concerns(rule) for rule in scope.rules)

    def _concerns(self, rule: Rule) -> bool:
        if rule.who is not Who.CHOSEN:
            return bool(self.users)
        return not (rule.groups.isdisjoint(self.groups) and rule.users.isdisjoint(self.users))


# ---- scopes -----------------------------------------------------------------------------------------------


def _compare_application(found: _Found, key: int, change: _DirectoryChange) -> None:
    old, new = found.before.applications.get(key), found.after.applications.get(key)
    application = new or old
    is_enabled = (old is not None and old.enabled, new is not None and new.enabled)
    if application is None or not any(is_enabled):
        return
    keys = _scope_keys(old) | _scope_keys(new)
    parts = Counter(id(covering(old, *scope_key)) for scope_key in keys)
    for scope_key in keys:
        was, will = covering(old, *scope_key), covering(new, *scope_key)
        if was == will and is_enabled[0] == is_enabled[1] and not change.concerns(was):
            continue
        accesses = (
            access_to(old, was, found.before.people, found.now),
            access_to(new, will, found.after.people, found.now),
        )
        rules = _rules_before(old, was)
        place = _Place(application, scope_key, rules, is_whole=parts[id(was)] == 1 and 0 not in rules)
        _note(found, place, *accesses)


def _rules_before(application: Application | None, scope: Scope | None) -> tuple[int, ...]:
    """Return the rules that decided requests before the change. A disabled application has none."""
    if application is None:
        return ()
    if scope is None or not application.enabled:
        return (0,)
    return tuple(rule.id for rule in scope.rules)


def _scope_keys(application: Application | None) -> set[ScopeKey]:
    return {(each.path, each.exact) for each in scopes_of(application)} if application else set()


def covering(application: Application | None, path: str, exact: bool) -> Scope | None:
    """Return the scope that decides about a path, or, if it is not exact, about the paths below it.

    Paths below it that are in another scope are compared separately.
    """
    if application is None:
        return None
    scopes = application.scopes
    if exact and (path, True) in scopes:
        return scopes[path, True]
    while path and path != "/":
        if (path, False) in scopes:
            return scopes[path, False]
        path = path.rpartition("/")[0]
    return scopes.get(("/", False))


def access_to(application: Application | None, scope: Scope | None, people: Directory, now: float) -> Access:
    """Return the access to a scope. It uses the functions of the access lists, so both agree."""
    if application is None or scope is None or not application.enabled:
        return Access()
    by_conditions: dict[Conditions, Set[int]] = {}
    for rule in scope.rules:
        if can_admit(rule, now):
            key = _conditions_of(rule)
            by_conditions[key] = by_conditions.get(key, NOBODY) | admitted(rule, people)
    return Access(by_conditions, is_public(application, scope, now))


WHO_IT_IS_FOR = ("id", "who", "groups", "users", "readable")
CONDITIONS = tuple(each.name for each in fields(Rule) if each.compare and each.name not in WHO_IT_IS_FOR)
"""Fields of a rule that limit its requests. A criterion that is added to `Rule` is included automatically."""


def _conditions_of(rule: Rule) -> Conditions:
    return tuple(getattr(rule, name) for name in CONDITIONS)


UNCONDITIONAL = _conditions_of(Rule(id=0, who=Who.EVERYONE))


def _note(found: _Found, place: _Place, was: Access, will: Access) -> None:
    old, new = was.people, will.people
    visitors = will.visitors - was.visitors
    _add(found.gained, place, found.after.people, new - old, visitors > 0)
    _add(found.lost, place, found.before.people, old - new, visitors < 0)
    _add(found.changed, place, found.after.people, _with_other_conditions(was, will) & old & new, False)


def _with_other_conditions(was: Access, will: Access) -> Set[int]:
    """Return the people with different conditions.

    If a rule without conditions admits a person before and after, other conditions are irrelevant.
    """
    old, new = was.by_conditions, will.by_conditions
    differing: set[int] = set()
    for key in old.keys() | new.keys():
        differing |= old.get(key, NOBODY) ^ new.get(key, NOBODY)
    return differing - (old.get(UNCONDITIONAL, NOBODY) & new.get(UNCONDITIONAL, NOBODY))


def _add(into: list[Difference], place: _Place, people: Directory, who: Set[int], visitors: bool) -> None:
    if who or visitors:
        into.append(
            Difference(
                application=place.application.id,
                name=place.application.name,
                path=place.scope[0],
                exact=place.scope[1],
                people=tuple(_persons(people, who)),
                visitors=visitors,
                origin=place.origin,
                rules=place.rules,
                is_whole=place.is_whole,
            )
        )


def _persons(people: Directory, who: Set[int]) -> Iterator[Person]:
    few = sorted(who, key=people.users.__getitem__)
    return (Person(key, people.users[key], people.names.get(key, "")) for key in few)


# ---- maintenance and second factors -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _ShutOut:
    """The people who could open an application, and those that its maintenance shuts out. None: visitors."""

    able: Set[int | None] = frozenset()
    shut_out: Set[int | None] = frozenset()


def _compare_maintenance(found: _Found, key: int) -> None:
    old, new = found.before.applications.get(key), found.after.applications.get(key)
    application = new or old
    if application is None or not any(each is not None and each.maintenance for each in (old, new)):
        return
    was, will = _shut_out(old, found.before, found.now), _shut_out(new, found.after, found.now)
    rules = tuple(rule.id for scope in scopes_of(old) for rule in scope.rules) if old else ()
    place = _Place(application, ("/", False), rules, is_whole=True)
    closed, reopened = will.shut_out - was.shut_out, (was.shut_out - will.shut_out) & will.able
    for into, who in ((found.closed, closed), (found.reopened, reopened)):
        _add(into, place, found.after.people, {each for each in who if each is not None}, None in who)


def _shut_out(application: Application | None, state: State, now: float) -> _ShutOut:
    if application is None:
        return _ShutOut()
    accesses = [access_to(application, scope, state.people, now) for scope in scopes_of(application)]
    able: set[int | None] = set().union(*(access.people for access in accesses))
    if any(access.visitors for access in accesses):
        able.add(None)
    maintenance = application.maintenance
    if maintenance is None:
        return _ShutOut(able)
    by_group = (state.people.members.get(group, NOBODY) for group in maintenance.owner_groups)
    return _ShutOut(able, able - maintenance.owners.union(state.superusers, *by_group))


def _compare_factors(found: _Found) -> None:
    """Compare which users need a second factor for every application. Only users in both states count."""
    both = found.before.people.users.keys() & found.after.people.users.keys()
    old, new = found.before.owing & both, found.after.owing & both
    for into, who in ((found.stricter, new - old), (found.looser, old - new)):
        if who:
            people = tuple(_persons(found.after.people, who))
            into.append(Difference(EVERY_APPLICATION, "", "/", exact=False, people=people))


# ---- origins ----------------------------------------------------------------------------------------------


def _compare_origins(found: _Found) -> None:
    """Compare which application answers at an origin that was added, removed or moved."""
    before, after = found.before, found.after
    for origin in sorted({value for value, _ in before.origins.items() ^ after.origins.items()}):
        old, new = before.owner_of(origin), after.owner_of(origin)
        if old != new:
            _at_origin(found, found.lost, before, old, origin)
            _at_origin(found, found.gained, after, new, origin)


def _at_origin(found: _Found, into: list[Difference], state: State, owner: int | None, origin: str) -> None:
    is_old = owner in found.before.applications and owner in found.after.applications
    application = state.applications.get(owner) if owner is not None and is_old else None
    if application is None:  # a new or deleted application is compared as a whole
        return
    known = {(each.path, each.exact): each for each in into if each.application == owner and not each.origin}
    for scope in scopes_of(application):
        key = (scope.path, scope.exact)
        access = access_to(application, scope, state.people, found.now)
        others = {person.id for person in known[key].people} if key in known else NOBODY
        place = _Place(application, key, _rules_before(application, scope), origin=origin)
        _add(into, place, state.people, access.people - others, access.visitors)
