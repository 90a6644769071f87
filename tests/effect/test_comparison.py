"""Users who gain or lose access by a change. The comparison itself changes no rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from accounts import mails
from accounts.models import StrictGroup, User
from authgate.audit import record
from authgate.decision.evaluation import decide
from authgate.decision.rules import Application, Rule, Verdict
from authgate.decision.target import Target
from authgate.effect.comparison import Bounds, measured
from authgate.effect.differences import CONDITIONS, State, compare
from authgate.effect.values import Difference
from authgate.explain.access import Directory
from authgate.models import Application as ApplicationRow
from authgate.models import AuditEvent, Origin
from authgate.models import Rule as RuleRow
from authgate.worker.rule_compiler import application_of
from tests.effect.rehearsals import effect_of
from tests.explain.test_access import CLIENTS, METHODS, NOW, directories, scoped, subject_of
from tests.factories import ApplicationFactory, RuleFactory, UserFactory


def summary(differences: tuple[Difference, ...]) -> list[tuple[str, str, list[str]]]:
    """Return differences in short: application, origin and path, usernames."""
    return [
        (each.name, f"{each.origin}{each.path}", [person.username for person in each.people])
        for each in differences
    ]


@pytest.fixture
def wiki(alice: User, bob: User) -> ApplicationRow:
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


# ---- against `decide` -------------------------------------------------------------------------------------

PATHS = ("/zz", "/a", "/a/zz", "/a/b", "/a/b/zz", "/admin", "/admin/zz")


def admitted(app: Application, people: Directory) -> set[tuple[str, int | None]]:
    """Return the pairs of a path and a user, or None for visitors, that some request admits."""
    targets = [
        Target("https://a.example", method, path, client, path)
        for path in PATHS
        for method in METHODS
        for client in CLIENTS
    ]
    subjects = {None: None, **{user: subject_of(user, people) for user in people.users}}
    return {
        (str(target.path), user)
        for target in targets
        for user, subject in subjects.items()
        if decide(app, target, subject, NOW).verdict is Verdict.ALLOW
    }


def deciding_scope(path: str, keys: set[tuple[str, bool]]) -> tuple[str, bool]:
    """Return the scope among `keys` that decides about a path, and whether it is exact."""
    if (path, True) in keys:
        return path, True
    while path and (path, False) not in keys:
        path = path.rpartition("/")[0]
    return path or "/", False


Rules = list[tuple[str, bool, Rule]]


@given(scoped, scoped, directories, directories, st.booleans(), st.booleans())
def test_the_differences_equal_those_of_the_check(
    old: Rules, new: Rules, were: Directory, are: Directory, was_enabled: bool, is_enabled: bool
) -> None:
    before = application_of(id=1, name="App", rules=old, enabled=was_enabled)
    after = application_of(id=1, name="App", rules=new, enabled=is_enabled)

    effect = compare(State({1: before}, {}, were), State({1: after}, {}, are), NOW)

    keys = {(scope.path, scope.exact) for app in (before, after) for scope in app.scopes.values()}
    was, will = admitted(before, were), admitted(after, are)
    for part, expected in ((effect.gained, will - was), (effect.lost, was - will)):
        found = {
            ((each.path, each.exact), user)
            for each in part
            for user in [*(person.id for person in each.people), *([None] if each.visitors else [])]
        }
        assert {(deciding_scope(path, keys), user) for path, user in expected} <= found
        asked = {deciding_scope(path, keys) for path in PATHS}
        assert {one for one in found if one[0] in asked} <= {
            (deciding_scope(path, keys), user) for path, user in expected
        }


# ---- changes of rows --------------------------------------------------------------------------------------


def test_a_new_rule_for_a_longer_path_removes_access_of_others(
    wiki: ApplicationRow, alice: User, bob: User
) -> None:
    effect = effect_of(lambda: RuleFactory(application=wiki, path="/admin", who="chosen", users=[bob]))

    assert summary(effect.gained) == [("Wiki", "/admin", ["bob"])]
    assert summary(effect.lost) == [("Wiki", "/admin", ["alice"])]
    assert not RuleRow.objects.filter(path="/admin").exists()


def test_a_rule_for_a_longer_path_is_compared_with_the_nearest_shorter_one(
    wiki: ApplicationRow, alice: User, bob: User
) -> None:
    RuleFactory(application=wiki, path="/admin", who="chosen", users=[bob])

    effect = effect_of(lambda: RuleFactory(application=wiki, path="/admin/logs", who="signed_in"))

    assert summary(effect.gained) == [("Wiki", "/admin/logs", ["alice"])]


def test_a_new_member_gains_what_the_group_can_open(wiki: ApplicationRow, bob: User) -> None:
    group = Group.objects.get(name="staff")

    effect = effect_of(lambda: bob.groups.add(group), Bounds(users={bob.pk}))

    assert summary(effect.gained) == [("Wiki", "/", ["bob"])]
    assert not effect.lost


def test_a_disabled_user_loses_all_access(wiki: ApplicationRow, alice: User) -> None:
    RuleFactory(application=wiki, path="/all", who="signed_in")

    effect = effect_of(lambda: User.objects.filter(pk=alice.pk).update(is_active=False))

    assert summary(effect.lost) == [("Wiki", "/", ["alice"]), ("Wiki", "/all", ["alice"])]


def test_visitors_gain_access_even_if_every_user_had_it(wiki: ApplicationRow) -> None:
    rule = RuleFactory(application=wiki, path="/all", who="signed_in")

    effect = effect_of(lambda: RuleRow.objects.filter(pk=rule.pk).update(who="everyone"))

    assert [(each.path, each.visitors, each.people) for each in effect.gained] == [("/all", True, ())]


def test_a_network_changes_the_conditions_of_users_who_keep_access(wiki: ApplicationRow) -> None:
    effect = effect_of(lambda: wiki.rules.update(networks="10.0.0.0/8"))

    assert (effect.gained, effect.lost) == ((), ())
    assert summary(effect.changed) == [("Wiki", "/", ["alice"])]


def test_every_criterion_of_a_rule_is_compared() -> None:
    assert CONDITIONS == ("methods", "networks", "second_factor", "proof", "expires_at")


def test_conditions_do_not_count_beside_a_rule_without_conditions(wiki: ApplicationRow) -> None:
    rule = RuleFactory(application=wiki, who="signed_in", methods="GET")

    effect = effect_of(lambda: RuleRow.objects.filter(pk=rule.pk).update(methods="POST"))

    assert summary(effect.changed) == [("Wiki", "/", ["bob"])]


def test_a_moved_origin_removes_access_of_some_users_and_gives_it_to_others(
    wiki: ApplicationRow, alice: User, bob: User
) -> None:
    other = ApplicationFactory(name="Other", origins=["https://*.example.com"], users=[bob])
    origin = wiki.origins.get()

    removed = effect_of(origin.delete, Bounds(applications={wiki.pk}))
    added = effect_of(lambda: Origin.objects.create(application=other, value="https://x.example.com"))
    taken = effect_of(lambda: Origin.objects.create(application=wiki, value="https://y.example.com"))

    assert summary(removed.lost) == [("Wiki", "https://wiki.example.com/", ["alice"])]
    assert summary(removed.gained) == [("Other", "https://wiki.example.com/", ["bob"])]
    assert not added
    assert summary(taken.gained) == [("Wiki", "https://y.example.com/", ["alice"])]
    assert summary(taken.lost) == [("Other", "https://y.example.com/", ["bob"])]


def test_a_deleted_application_is_named(wiki: ApplicationRow) -> None:
    assert summary(effect_of(wiki.delete).lost) == [("Wiki", "/", ["alice"])]


@pytest.mark.parametrize(
    "change",
    [{"note": "for the team"}, {"second_factor": False}],
    ids=["a note", "nothing"],
)
def test_other_columns_have_no_effect(wiki: ApplicationRow, change: dict[str, Any]) -> None:
    assert not effect_of(lambda: wiki.rules.update(**change))


def test_the_digest_is_the_same_if_the_change_is_made_again(wiki: ApplicationRow) -> None:
    def change() -> None:
        ApplicationFactory(name="New", origins=["https://new.example.com"], users=[UserFactory(username="z")])

    first = effect_of(change)

    assert effect_of(change).digest == first.digest
    UserFactory(username="meanwhile", groups=["staff"])
    assert effect_of(change).digest == first.digest
    assert effect_of(wiki.delete).digest != first.digest


# ---- side effects -----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_rehearsed_change_has_no_side_effects(caplog: pytest.LogCaptureFixture) -> None:
    alice = UserFactory(username="alice", email="alice@example.com", groups=["staff"])
    ApplicationFactory(name="Wiki", groups=["staff"])
    committed: list[int] = []
    with connection.cursor() as cursor:
        rows = cursor.execute("SELECT count(*) FROM authgate_change").fetchone()
    caplog.set_level("INFO", "ikd.security")

    def change() -> None:
        alice.is_active = False
        alice.save()
        record("changed", actor="carol", subject="alice")
        mails.notify(alice, "password_changed")
        transaction.on_commit(lambda: committed.append(1))

    effect = effect_of(change)

    assert summary(effect.lost) == [("Wiki", "/", ["alice"])]
    assert not committed and not caplog.records and not mail.outbox
    assert not AuditEvent.objects.exists()
    assert User.objects.get(pk=alice.pk).is_active
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM authgate_change").fetchone() == rows
    assert not connection.in_atomic_block


def test_an_error_of_the_change_is_raised_and_undone(wiki: ApplicationRow) -> None:
    def change() -> None:
        wiki.delete()
        raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        effect_of(change)

    assert ApplicationRow.objects.filter(name="Wiki").exists()
    record("changed", actor="carol")  # events are no longer held back
    assert AuditEvent.objects.count() == 1


def test_a_measured_change_is_kept(wiki: ApplicationRow) -> None:
    (deleted, _rows), effect = measured(lambda: wiki.rules.all().delete())

    assert deleted and summary(effect.lost) == [("Wiki", "/", ["alice"])]
    assert not wiki.rules.exists()


# ---- maintenance and second factors -----------------------------------------------------------------------


def close(application: ApplicationRow, is_closed: bool = True) -> None:
    ApplicationRow.objects.filter(pk=application.pk).update(maintenance=is_closed)


def test_maintenance_refuses_everyone_except_owners_and_superusers(
    wiki: ApplicationRow, alice: User, carol: User
) -> None:
    for user in (UserFactory(username="owner"), UserFactory(username="of-owners", groups=["owners"]), carol):
        user.groups.add(Group.objects.get(name="staff"))
    wiki.owners.add(User.objects.get(username="owner"))
    wiki.owner_groups.add(Group.objects.get(name="owners"))

    effect = effect_of(lambda: close(wiki), Bounds(applications={wiki.pk}))

    assert summary(effect.closed) == [("Wiki", "/", ["alice"])]
    assert not effect.lost and not effect.gained
    close(wiki)
    assert summary(effect_of(lambda: close(wiki, False)).reopened) == [("Wiki", "/", ["alice"])]


def test_maintenance_lists_visitors_too(wiki: ApplicationRow) -> None:
    RuleFactory(application=wiki, path="/open", who=RuleRow.Who.EVERYONE)

    (closed,) = effect_of(lambda: close(wiki)).closed

    assert closed.visitors


def test_access_gained_during_maintenance_is_listed_as_gained_and_closed(
    wiki: ApplicationRow, bob: User
) -> None:
    close(wiki)

    effect = effect_of(lambda: bob.groups.add(Group.objects.get(name="staff")))

    assert summary(effect.gained) == [("Wiki", "/", ["bob"])]
    assert summary(effect.closed) == [("Wiki", "/", ["bob"])]


def test_a_user_who_loses_access_is_not_listed_as_let_in_again(wiki: ApplicationRow, alice: User) -> None:
    close(wiki)

    effect = effect_of(lambda: (close(wiki, False), alice.groups.clear()))

    assert summary(effect.lost) == [("Wiki", "/", ["alice"])]
    assert not effect.reopened


def test_an_application_that_is_also_disabled_does_not_open_again(wiki: ApplicationRow) -> None:
    close(wiki)

    effect = effect_of(
        lambda: ApplicationRow.objects.filter(pk=wiki.pk).update(maintenance=False, enabled=False)
    )

    assert summary(effect.lost) == [("Wiki", "/", ["alice"])]
    assert not effect.reopened


def test_members_of_a_group_that_requires_a_second_factor_are_listed(
    wiki: ApplicationRow, alice: User, bob: User
) -> None:
    group = Group.objects.get(name="staff")

    effect = effect_of(lambda: StrictGroup.objects.create(group=group))

    assert summary(effect.stricter) == [("", "/", ["alice"])]
    StrictGroup.objects.create(group=group)
    assert summary(effect_of(lambda: StrictGroup.objects.all().delete()).looser) == [("", "/", ["alice"])]
    joins = effect_of(lambda: bob.groups.add(group), Bounds(users={bob.pk}))
    assert summary(joins.stricter) == [("", "/", ["bob"])]


def test_a_member_of_two_such_groups_still_needs_a_second_factor(wiki: ApplicationRow, alice: User) -> None:
    for name in ("staff", "careful"):
        group, _ = Group.objects.get_or_create(name=name)
        StrictGroup.objects.create(group=group)
        alice.groups.add(group)

    assert not effect_of(lambda: StrictGroup.objects.filter(group__name="staff").delete())


def test_new_staff_are_listed_if_staff_need_a_second_factor(alice: User, settings: Any) -> None:
    def promote() -> None:
        User.objects.filter(pk=alice.pk).update(is_staff=True)

    settings.IKD_SECOND_FACTOR_FOR_STAFF = False
    assert not effect_of(promote)
    settings.IKD_SECOND_FACTOR_FOR_STAFF = True
    assert summary(effect_of(promote).stricter) == [("", "/", ["alice"])]
