"""The database itself reports each change that takes access away or alters it, however the change is made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction
from django.test import RequestFactory
from django.utils import timezone

from accounts.models import StrictGroup, User
from authgate.models import Application, Change, GateSession, Origin, Rule, SignIn
from authgate.sign_ins import end_sign_ins, open_gate
from authgate.worker.triggers import TABLE
from tests.factories import GroupFactory, RuleFactory
from tests.front.serving import Cast, Database, begin

Changes = set[tuple[str, int | None]]
Way = Callable[[Cast], Changes]


def changes_reported_by(change: Callable[[], object]) -> Changes:
    newest = Change.objects.latest("pk").pk
    change()
    return set(Change.objects.filter(pk__gt=newest).values_list("kind", "key"))


def raw(sql: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def wiki() -> Application:
    return Application.objects.get(name="Wiki")


def save(instance: Application | Group | Rule | User, **fields: object) -> None:
    for name, value in fields.items():
        setattr(instance, name, value)
    instance.save()


def through_the_admin(user: User) -> None:
    """Run Django's own action "delete selected" on a selection of users."""
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.sites import AdminSite

    request = RequestFactory().post("/")
    ModelAdmin(User, AdminSite()).delete_queryset(request, User.objects.filter(pk=user.pk))


USER: dict[str, Callable[[User], object]] = {
    "a model's save": lambda alice: save(alice, is_active=False),
    "QuerySet.update": lambda alice: User.objects.filter(pk=alice.pk).update(is_active=False),
    "QuerySet.bulk_update": lambda alice: User.objects.bulk_update([alice], ["username"]),
    "raw SQL": lambda alice: raw("UPDATE accounts_user SET is_active = %s WHERE id = %s", False, alice.pk),
    "raw SQL about everybody": lambda alice: raw("UPDATE accounts_user SET email = ''"),
    "another name": lambda alice: save(alice, username="alice2"),
    "a new password": lambda alice: User.objects.filter(pk=alice.pk).update(password="!"),
    "made staff": lambda alice: User.objects.filter(pk=alice.pk).update(is_staff=True),
    "no superuser any more": lambda alice: User.objects.filter(pk=alice.pk).update(is_superuser=False),
    "model delete": lambda alice: alice.delete(),
    "QuerySet.delete": lambda alice: User.objects.filter(pk=alice.pk).delete(),
    "the admin's action": through_the_admin,
    "removed from a group": lambda alice: alice.groups.remove(Group.objects.get(name="staff")),
    "removed from the group's side": lambda alice: Group.objects.get(name="staff").user_set.remove(alice),
    "added to a group": lambda alice: alice.groups.add(GroupFactory(name="guests")),
    "all groups cleared": lambda alice: alice.groups.clear(),
    "the group's members cleared": lambda alice: Group.objects.get(name="staff").user_set.clear(),
    "membership by raw SQL": lambda alice: raw("DELETE FROM accounts_user_groups"),
    "an address verified": lambda alice: EmailAddress.objects.filter(user=alice).update(verified=False),
    "an address removed": lambda alice: EmailAddress.objects.filter(user=alice).delete(),
    "an address added": lambda alice: EmailAddress.objects.create(user=alice, email="a@example.org"),
    "an e-mail address changed": lambda alice: User.objects.filter(pk=alice.pk).update(email="a@example.org"),
    "a management command": lambda alice: call_command("shell", command="from accounts.models import User\n"
        "User.objects.filter(username='alice').update(is_active=False)", verbosity=0),
}  # fmt: skip


@pytest.mark.parametrize("way", USER)
def test_a_change_of_a_user_is_reported(way: str, people: Cast) -> None:
    key = people.alice.pk

    told = changes_reported_by(lambda: USER[way](people.alice))

    assert ("user", key) in told


def test_adding_or_removing_a_second_factor_is_reported(people: Cast) -> None:
    key = people.alice.pk

    made = changes_reported_by(lambda: Authenticator.objects.create(user=people.alice, type="totp", data={}))

    assert ("user", key) in made
    assert ("user", key) in changes_reported_by(
        lambda: Authenticator.objects.filter(user=people.alice).delete()
    )


def test_using_a_second_factor_reports_nothing(people: Cast) -> None:
    Authenticator.objects.create(user=people.alice, type="totp", data={})

    told = changes_reported_by(
        lambda: Authenticator.objects.update(last_used_at=timezone.now(), data={"counter": 1})
    )

    assert not told


GROUP: dict[str, Callable[[], object]] = {
    "renamed": lambda: save(Group.objects.get(name="staff"), name="crew"),
    "renamed by QuerySet.update": lambda: Group.objects.filter(name="staff").update(name="crew"),
    "made strict": lambda: StrictGroup.objects.create(group=Group.objects.get(name="staff")),
    "made strict by raw SQL": lambda: raw(
        "INSERT INTO accounts_strictgroup (group_id) SELECT id FROM auth_group WHERE name = 'staff'"
    ),
    "deleted": lambda: Group.objects.get(name="staff").delete(),
}


@pytest.mark.parametrize("way", GROUP)
def test_a_change_of_a_group_is_reported_for_all_users(way: str, people: Cast) -> None:
    assert ("user", None) in changes_reported_by(GROUP[way])


def test_deleting_a_group_is_reported_for_each_member_and_application(people: Cast) -> None:
    told = changes_reported_by(lambda: Group.objects.get(name="staff").delete())

    assert {("user", people.alice.pk), ("application", wiki().pk)} <= told


SIGN_IN: dict[str, Callable[[SignIn], object]] = {
    "a second factor given": lambda row: SignIn.objects.filter(pk=row.pk).update(
        second_factor_at=timezone.now()
    ),
    "a second factor taken back": lambda row: SignIn.objects.filter(pk=row.pk).update(remembered_device=True),
    "ended": lambda sign_in: end_sign_ins(SignIn.objects.filter(pk=sign_in.pk)),
    "deleted": lambda sign_in: sign_in.delete(),
    "shortened": lambda sign_in: SignIn.objects.filter(pk=sign_in.pk).update(expires_at=timezone.now()),
    "idle timeout": lambda sign_in: SignIn.objects.filter(pk=sign_in.pk).update(idle_timeout=1),
    "methods": lambda sign_in: SignIn.objects.filter(pk=sign_in.pk).update(methods=["password"]),
    "raw SQL": lambda sign_in: raw(
        "UPDATE authgate_signin SET ended_at = started_at WHERE id = %s", sign_in.pk
    ),
    "a gate session ended": lambda sign_in: GateSession.objects.filter(sign_in=sign_in).update(
        ended_at=timezone.now()
    ),
    "a gate session deleted": lambda sign_in: GateSession.objects.filter(sign_in=sign_in).delete(),
    "its user deleted": lambda sign_in: sign_in.user.delete(),
}


@pytest.mark.parametrize("way", SIGN_IN)
def test_a_change_of_a_sign_in_is_reported(way: str, people: Cast) -> None:
    sign_in = SignIn.objects.get(user=people.alice)
    key = sign_in.pk

    assert ("sign_in", key) in changes_reported_by(lambda: SIGN_IN[way](sign_in))


APPLICATION: dict[str, Callable[[Cast], object]] = {
    "saved": lambda people: save(wiki(), enabled=False),
    "updated": lambda people: Application.objects.update(remote_headers=True),
    "deleted": lambda people: wiki().delete(),
    "an origin added": lambda people: Origin.objects.create(
        application=wiki(), value="https://w.example.com"
    ),
    "an origin changed": lambda people: Origin.objects.filter(application=wiki()).update(
        value="https://w.example.com"
    ),
    "an origin removed": lambda people: Origin.objects.filter(application=wiki()).delete(),
    "a rule added": lambda people: RuleFactory(application=wiki(), path="/a"),
    "a rule changed": lambda people: wiki().rules.update(path="/a"),
    "a rule removed": lambda people: wiki().rules.all().delete(),
    "a rule's group added": lambda people: wiki().rules.get().groups.add(GroupFactory(name="guests")),
    "a rule's groups cleared": lambda people: wiki().rules.get().groups.clear(),
    "a rule's user added": lambda people: wiki().rules.get().users.add(people.bob),
    "a named group added": lambda people: wiki().named_groups.add(GroupFactory(name="staff")),
}


@pytest.mark.parametrize("way", APPLICATION)
def test_a_change_of_an_application_is_reported(way: str, people: Cast) -> None:
    key = wiki().pk

    assert ("application", key) in changes_reported_by(lambda: APPLICATION[way](people))


def test_deleting_a_user_is_reported_for_the_rules_that_name_them(people: Cast) -> None:
    wiki().rules.get().users.add(people.bob)

    assert ("application", wiki().pk) in changes_reported_by(people.bob.delete)


def test_moving_an_origin_is_reported_for_both_applications(people: Cast) -> None:
    public = Application.objects.get(name="Public")

    told = changes_reported_by(lambda: Origin.objects.filter(application=wiki()).update(application=public))

    assert {("application", wiki().pk), ("application", public.pk)} <= told


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("table", "kinds"),
    [
        ("authgate_signin", {("sign_in", None)}),
        ("authgate_gatesession", {("sign_in", None)}),
        ("accounts_user_groups", {("user", None)}),
        ("account_emailaddress", {("user", None)}),
        ("authgate_rule", {("application", None)}),
        ("authgate_application", {("application", None)}),
        ("accounts_user", {("user", None), ("sign_in", None)}),
    ],
)
def test_truncating_a_table_is_reported(table: str, kinds: Changes, people: Cast) -> None:
    assert kinds <= changes_reported_by(lambda: raw(f"TRUNCATE {table} CASCADE"))


SILENT: dict[str, Callable[[Cast], object]] = {
    "last seen": lambda people: SignIn.objects.update(last_seen_at=timezone.now()),
    "last login": lambda people: save_last_login(people.alice),
    "a new sign-in": lambda people: begin(people.bob),
    "a new gate session": lambda people: open_gate(begin(people.bob), "https://a.example.com"),
    "a portal session's new key": lambda people: SignIn.objects.filter(user=people.bob).update(
        session_digest="0" * 64
    ),
}


def save_last_login(user: User) -> None:
    from django.contrib.auth.models import update_last_login

    update_last_login(User, user)


@pytest.mark.parametrize("what", SILENT)
def test_frequent_writes_that_take_no_access_away_are_not_reported(what: str, people: Cast) -> None:
    assert changes_reported_by(lambda: SILENT[what](people)) == set()


def test_a_change_that_is_rolled_back_is_not_reported(people: Cast) -> None:
    def change() -> None:
        with transaction.atomic():
            people.alice.groups.clear()
            transaction.set_rollback(True)

    assert changes_reported_by(change) == set()


def test_a_change_is_reported_in_its_own_transaction(database: Database, people: Cast) -> None:
    with transaction.atomic():
        people.alice.groups.clear()
        raw(f"SELECT max(id) FROM {TABLE}")
        assert ("user", people.alice.pk) in Change.objects.values_list("kind", "key")
        transaction.set_rollback(True)

    assert people.alice.groups.exists()
