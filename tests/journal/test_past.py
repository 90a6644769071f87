"""A past moment: the state rebuilt from the journal equals the real one, and gives the same answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Membership, StrictGroup, User
from authgate.check.memory import Memory
from authgate.decision.rules import Application as Compiled
from authgate.explain.access import Directory, openers, scopes_of
from authgate.explain.explanation import explain
from authgate.explain.past import Past
from authgate.explain.persons import Person, Standing, UnknownPerson
from authgate.explain.question import question_from
from authgate.explain.words import as_values
from authgate.explain.worlds import NamedRule, Present, World
from authgate.journal.gaps import UnknownMoment
from authgate.models import Application, Origin, Rule
from authgate.worker import loader
from tests.factories import ApplicationFactory, RuleFactory, UserFactory
from tests.front.serving import Cast

ASKED = (
    ("https://app0.example.com/", ""),
    ("https://app1.example.com/payroll", ""),
    ("https://app1.example.com:8443/payroll", "allowed_emails=user1@example.com"),
    ("https://sub.apps.example.com/payroll/x", "allowed_groups=group1"),
)


@dataclass
class World_:
    """Everything that Explain and its lists can say of a moment."""

    directory: tuple[Any, ...]
    applications: dict[int, tuple[Compiled, set[str]]]
    answers: list[Any]


def directory_of(found: Directory) -> tuple[Any, ...]:
    members = {group: keys for group, keys in found.members.items() if keys}
    return dict(found.users), dict(found.names), dict(found.groups), members


def standing_of(world: World, person: Person) -> Standing | str:
    try:
        return world.standing_of(person)
    except UnknownPerson as problem:
        return str(problem)


def answer_of(world: World, url: str, query: str, standing: Standing | str, now: float) -> Any:
    if isinstance(standing, str):
        return standing
    explanation = explain(question_from(url, query=query), standing, "nginx", now, world)
    values = as_values(explanation)
    del values["at"]
    return values


class ReadOnce(Present):
    """The present at one moment. It reads the rows of 36 questions once: nothing changes in between."""

    def __init__(self) -> None:
        self._memory = loader.memory_for_one_request()
        self._rules: dict[frozenset[int], dict[int, NamedRule]] = {}

    def load_application_into(self, memory: Memory, origin: str) -> None:
        if origin not in self._memory.applications:
            super().load_application_into(self._memory, origin)
        memory.applications[origin] = self._memory.applications[origin]
        memory.at_several_ports |= self._memory.at_several_ports & {origin}

    def rules(self, ids: Collection[int]) -> dict[int, NamedRule]:
        asked = frozenset(ids)
        if asked not in self._rules:
            self._rules[asked] = super().rules(ids)
        return self._rules[asked]


def seen(world: World, now: float) -> World_:
    found = {application.id: (application, set(origins)) for application, origins in world.applications()}
    names = ["", *(f"user{number}" for number in range(4))]
    standings = [standing_of(world, Person(name, factor)) for name in names for factor in (False, True)]
    answers = [answer_of(world, url, query, each, now) for url, query in ASKED for each in standings]
    return World_(directory_of(world.directory()), found, answers)


def verdicts_of(snapshots: list[tuple[datetime, World_]]) -> set[str]:
    answers = [answer for _, world in snapshots for answer in world.answers]
    return {answer["verdict"] for answer in answers if isinstance(answer, dict)}


# ---- random changes ---------------------------------------------------------------------------------------


def some(chance: random.Random, queryset: Any) -> Any:
    rows = list(queryset.order_by("pk"))
    return chance.choice(rows) if rows else None


def add_user(chance: random.Random) -> None:
    free = [n for n in range(4) if not User.objects.filter(username=f"user{n}").exists()]
    if free:
        name = f"user{free[0]}"
        UserFactory(username=name, email=f"{name}@example.com", verified=chance.random() < 0.7)


def change_user(chance: random.Random) -> None:
    user = some(chance, User.objects.filter(username__startswith="user"))
    if user is not None:
        field = chance.choice(["is_active", "is_staff", "is_superuser"])
        User.objects.filter(pk=user.pk).update(**{field: not getattr(user, field)})
        EmailAddress.objects.filter(user=user).update(verified=chance.random() < 0.5)


def delete_user(chance: random.Random) -> None:
    user = some(chance, User.objects.filter(username__startswith="user"))
    if user is not None:
        user.delete()


def change_membership(chance: random.Random) -> None:
    user, group = some(chance, User.objects.all()), some(chance, Group.objects.all())
    if group is not None:
        chance.choice([user.groups.add, user.groups.remove])(group)
        if chance.random() < 0.5:
            end = timezone.now() + timedelta(hours=chance.choice([-1, 1]))
            Membership.objects.filter(user=user, group=group).update(ends_at=end)


def change_group(chance: random.Random) -> None:
    group = some(chance, Group.objects.exclude(name__in=("staff", "guests")))
    if group is None or chance.random() < 0.5:
        Group.objects.get_or_create(name=f"group{chance.randrange(3)}")
    elif chance.random() < 0.4:
        StrictGroup.objects.get_or_create(group=group)
    else:
        group.delete()


def change_application(chance: random.Random) -> None:
    number = chance.randrange(3)
    found = Application.objects.filter(name=f"App {number}").first()
    if found is None:
        origins = {0: ["https://app0.example.com"], 1: ["https://app1.example.com"]}.get(
            number, ["https://*.apps.example.com", "https://app1.example.com:8443"]
        )
        moved = Origin.objects.filter(value__in=origins).values_list("value", flat=True)
        ApplicationFactory(name=f"App {number}", origins=sorted({*origins} - {*moved}), groups=["staff"])
    elif chance.random() < 0.3:
        found.delete()
    elif chance.random() < 0.5:
        Application.objects.filter(pk=found.pk).update(enabled=not found.enabled)
    else:
        found.named_groups.set(Group.objects.order_by("pk")[: chance.randrange(3)])


def change_rule(chance: random.Random) -> None:
    application = some(chance, Application.objects.filter(name__startswith="App"))
    if application is None:
        return
    rule = some(chance, application.rules)
    if rule is not None and chance.random() < 0.4:
        rule.delete()
        return
    made = RuleFactory(
        application=application,
        path=chance.choice(["/", "/payroll", "/payroll/x", "/Payroll"]),
        who=chance.choice(["everyone", "signed_in", "chosen"]),
        methods=chance.choice(["", "GET", "POST"]),
        networks=chance.choice(["", "192.0.2.0/24", "10.0.0.0/8", "nonsense"]),
        second_factor=chance.random() < 0.3,
        factor_minutes=chance.choice([None, 5]),
        passkey=chance.random() < 0.1,
        expires_at=chance.choice([None, timezone.now() + timedelta(hours=1), timezone.now()]),
    )
    made.groups.set(Group.objects.order_by("pk")[: chance.randrange(3)])
    made.users.set(User.objects.order_by("pk")[: chance.randrange(3)])


def move_origin(chance: random.Random) -> None:
    origin, other = some(chance, Origin.objects.all()), some(chance, Application.objects.all())
    if origin is not None and origin.value != "https://wiki.example.com":
        Origin.objects.filter(pk=origin.pk).update(application=other)


CHANGES: tuple[Callable[[random.Random], None], ...] = (
    *(add_user, add_user, change_user, change_user, delete_user, change_membership, change_membership),
    *(change_group, change_application, change_application, change_rule, change_rule, change_rule),
    move_origin,
)


@pytest.mark.long
def test_the_state_of_each_moment_is_rebuilt_exactly(people: Cast) -> None:
    chance = random.Random(1)
    snapshots: list[tuple[datetime, World_]] = []
    for _ in range(40):
        with transaction.atomic():
            for _ in range(chance.choice([1, 1, 3])):
                chance.choice(CHANGES)(chance)
        time.sleep(0.003)
        now = timezone.now()
        snapshots.append((now, seen(ReadOnce(), now.timestamp())))
        time.sleep(0.003)

    assert len({str(world.answers) for _, world in snapshots}) > 12
    assert {"allow", "refuse", "sign_in"} <= verdicts_of(snapshots)
    for at, world in snapshots:
        rebuilt = seen(Past(at), at.timestamp())
        assert rebuilt.directory == world.directory
        assert rebuilt.applications == world.applications
        assert rebuilt.answers == world.answers


# ---- by example -------------------------------------------------------------------------------------------


def moment() -> datetime:
    time.sleep(0.003)
    at = timezone.now()
    time.sleep(0.003)
    return at


def verdict(at: datetime, name: str, url: str) -> str:
    past = Past(at)
    found = explain(question_from(url), past.standing_of(Person(name)), "nginx", at.timestamp(), past)
    return found.verdict.name


def test_a_past_decision_about_bob_is_rebuilt(people: Cast) -> None:
    application = ApplicationFactory(name="Pay", origins=["https://pay.example.com"])
    rule = RuleFactory(application=application, path="/payroll", who="chosen", users=[people.bob])
    could = moment()
    rule.users.remove(people.bob)
    could_not = moment()
    application.delete()
    gone = moment()

    url = "https://pay.example.com/payroll"
    assert [verdict(at, "bob", url) for at in (could, could_not, gone)] == ["ALLOW", "REFUSE", "REFUSE"]


def test_a_rule_that_expired_later_still_admits_in_the_past(people: Cast) -> None:
    application = ApplicationFactory(name="Pay", origins=["https://pay.example.com"])
    end = timezone.now() + timedelta(seconds=0.2)
    RuleFactory(application=application, path="/", who="chosen", users=[people.bob], expires_at=end)
    before = moment()
    time.sleep(0.25)
    after = moment()

    assert verdict(before, "bob", "https://pay.example.com/") == "ALLOW"
    assert verdict(after, "bob", "https://pay.example.com/") == "REFUSE"


def test_a_deleted_user_is_found_at_an_earlier_moment(people: Cast) -> None:
    eve = UserFactory(username="eve", groups=["staff"])
    before, key = moment(), eve.pk
    eve.delete()

    past = Past(before)
    [(wiki, _)] = [each for each in past.applications() if each[0].name == "Wiki"]
    scope = scopes_of(wiki)[0]

    assert past.username_of(key) == "eve"
    assert key in openers(wiki, scope, past.directory(), before.timestamp())
    assert Past(moment()).username_of(key) is None


def test_moments_outside_the_journal_or_the_calendar_are_refused(people: Cast) -> None:
    for at, reason in (
        (timezone.now() - timedelta(days=900), "beginning"),
        (timezone.now().replace(year=9999), "future"),
    ):
        with pytest.raises(UnknownMoment) as caught:
            Past(at)
        assert caught.value.reason == reason


def test_programs_are_not_explained_for_the_past(people: Cast) -> None:
    with pytest.raises(UnknownPerson, match="programs are of today"):
        Past(moment()).standing_of(Person("bob", token="backup"))


def test_the_command_accepts_a_moment(people: Cast, settings: Settings) -> None:
    rule = Rule.objects.get(application__name="Wiki")
    before = moment()
    rule.delete()
    said = StringIO()

    call_command("explain", "https://wiki.example.com/", user="alice", at=before.isoformat(), stdout=said)

    assert said.getvalue().startswith("The request is allowed.")
    with pytest.raises(CommandError, match="did not exist yet"):
        call_command("explain", "https://wiki.example.com/", at="2001-01-01")
    for wrong in ("yesterday", "2026-13-01", "9999-12-31T23:59:59.999999-23:00", "\0"):
        with pytest.raises(CommandError):
            call_command("explain", "https://wiki.example.com/", at=wrong)
