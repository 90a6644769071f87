"""Access lists equal `decide` for every method, network and factor that a request can have."""

from __future__ import annotations

import time
from itertools import product

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from authgate.decision.evaluation import decide
from authgate.decision.rules import Application, Rule, Scope, Subject, Verdict, Who
from authgate.decision.target import Target
from authgate.explain.access import (
    DIRECT,
    EVERYONE,
    GROUP,
    Directory,
    everybody,
    is_public,
    load_directory,
    openers,
    openings,
    scopes_of,
)
from authgate.worker import loader
from authgate.worker.rule_compiler import application_of
from tests.factories import ApplicationFactory, RuleFactory, UserFactory

GROUPS = {0: "staff", 1: "guests", 2: "ops"}
METHODS = ("GET", "HEAD", "POST", "MKCOL", "TRACE")
CLIENTS = ("192.0.2.1", "10.0.0.1", "2001:db8::1", "")
NOW = 10.0

rules = st.builds(
    Rule,
    id=st.integers(1, 99),
    who=st.sampled_from(Who),
    methods=st.sampled_from(
        [None, None, frozenset(("GET",)), frozenset(("POST", "MKCOL")), frozenset(("HEAD",)), frozenset()]
    ),
    networks=st.sampled_from([None, None, ("192.0.2.0/24",), ("10.0.0.0/8", "2001:db8::/32"), ()]),
    groups=st.frozensets(st.integers(0, 2), max_size=2),
    users=st.frozensets(st.integers(1, 4), max_size=2),
    second_factor=st.booleans(),
    expires_at=st.sampled_from([None, None, 5.0, 10.0, 15.0]),
    readable=st.sampled_from([True, True, True, False]),
)
scoped = st.lists(st.tuples(st.sampled_from(["/", "/a", "/a/b", "/admin"]), st.booleans(), rules), max_size=6)
directories = st.builds(
    lambda members: Directory({key: f"user-{key}" for key in (1, 2, 3)}, {}, GROUPS, members),
    st.dictionaries(st.integers(0, 2), st.frozensets(st.integers(1, 3), max_size=3)),
)


def subject_of(user: int, people: Directory) -> Subject:
    groups = tuple((group, GROUPS[group]) for group in sorted(people.groups_of(user)))
    return Subject(user, "uuid", people.users[user], "", "", groups, second_factor=True)


def targets(scope: Scope) -> list[Target]:
    path = scope.path if scope.exact else f"{scope.path.rstrip('/')}/zz"
    asked = product(METHODS, CLIENTS)
    return [Target("https://a.example", method, path, client, path) for method, client in asked]


@given(scoped, directories, st.booleans())
def test_the_list_has_exactly_the_users_whom_some_request_admits(
    found: list[tuple[str, bool, Rule]], people: Directory, enabled: bool
) -> None:
    app = application_of(id=1, name="App", rules=found, enabled=enabled)

    for scope in scopes_of(app):
        admitted = {
            user
            for user in people.users
            if any(
                decide(app, target, subject_of(user, people), NOW).verdict is Verdict.ALLOW
                for target in targets(scope)
            )
        }
        strangers = any(decide(app, target, None, NOW).verdict is Verdict.ALLOW for target in targets(scope))

        assert set(openers(app, scope, people, NOW)) == admitted
        assert is_public(app, scope, NOW) == strangers


@given(scoped, directories)
def test_each_listed_reason_admits_by_itself(found: list[tuple[str, bool, Rule]], people: Directory) -> None:
    app = application_of(id=1, name="App", rules=found)

    for scope in scopes_of(app):
        for user, reasons in openers(app, scope, people, NOW).items():
            for reason in reasons:
                named = [rule for rule in scope.rules if rule.id == reason.rule]
                assert named
                if reason.kind == GROUP:
                    assert reason.group in people.groups_of(user)
                    assert any(reason.group in rule.groups for rule in named)
                if reason.kind == DIRECT:
                    assert any(user in rule.users for rule in named)
                if reason.kind == EVERYONE:
                    assert any(rule.who is Who.EVERYONE for rule in named)


@pytest.mark.django_db
def test_both_lists_agree_and_omit_disabled_users(alice: User, bob: User, dave: User) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])
    RuleFactory(application=wiki, path="/all", who="signed_in")
    RuleFactory(application=wiki, path="/few", who="chosen", users=[bob, dave])
    people, now = load_directory(), 1e9

    [app] = loader.load_applications()
    pairs = {(scope.path, user) for scope in scopes_of(app) for user in openers(app, scope, people, now)}

    assert pairs == {("/", alice.pk), ("/all", alice.pk), ("/all", bob.pk), ("/few", bob.pk)}
    for user in (alice, bob, dave):
        own = {(scope.path, user.pk) for _, scope, _ in openings(user.pk, people, now)}
        assert own == {pair for pair in pairs if pair[1] == user.pk}


@pytest.mark.django_db
def test_the_number_of_queries_is_the_same_for_many_users(alice: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            people = load_directory()
            for app in loader.load_applications():
                for scope in scopes_of(app):
                    openers(app, scope, people, 1e9)
        return len(captured)

    ApplicationFactory(name="First", groups=["staff"])
    few = queries()
    for number in range(30):
        UserFactory(username=f"more-{number}", groups=["staff", f"group-{number}"])
        ApplicationFactory(name=f"More {number}", groups=[f"group-{number}"])

    assert queries() == few <= 6


def crowd(users: int) -> tuple[Directory, list[Application]]:
    """Return users in groups of ten, and applications that each admit a tenth of the groups."""
    groups = {number: f"group-{number}" for number in range(users // 10)}
    members = {number: frozenset(range(number * 10, number * 10 + 10)) for number in groups}
    names = {number: f"user-{number}" for number in range(users)}
    found = []
    for number in range(20):
        chosen = frozenset(group for group in groups if group % 10 == number % 10)
        rule = Rule(number, Who.CHOSEN, groups=chosen)
        found.append(application_of(id=number, name=f"App {number}", rules=[("/", False, rule)]))
    return Directory(names, names, groups, members), found


def test_the_time_is_proportional_to_the_number_of_users() -> None:
    """Ten times as many users take about ten times as long, because no step compares all pairs."""

    def seconds(users: int) -> float:
        people, applications = crowd(users)
        before = time.process_time()
        assert sum(1 for _ in everybody(applications, people, NOW)) == users * 2
        return time.process_time() - before

    seconds(2_000)
    few, many = min(seconds(2_000) for _ in range(5)), min(seconds(20_000) for _ in range(3))

    assert many < 40 * few
