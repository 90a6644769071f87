"""Undoing changes restores every byte. Only users who could make the change by hand may undo it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.db import connections, transaction
from django.test import Client

from accounts.models import User
from authgate.journal import undo
from authgate.journal.actor import acting
from authgate.journal.states import model_of, typed
from authgate.journal.tables import BY_NAME
from authgate.journal.undo import references
from authgate.journal.words import LABELS, NAMES, label_of_column
from authgate.models import Application, AuditEvent, JournalEntry, Origin, Rule
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory, UserFactory
from tests.front.serving import Cast

# PostgreSQL tells changes apart by their transaction, so a test must not be one transaction.
pytestmark = pytest.mark.django_db(transaction=connections["default"].vendor == "postgresql")


def newest(table: str, **about: Any) -> JournalEntry:
    return JournalEntry.objects.filter(table_name=table, **about).order_by("-pk")[0]


def page(entry: JournalEntry, act: str = "change") -> str:
    return f"/admin/authgate/journalentry/{entry.pk}/{act}/"


def undo_change(client: Client, entry: JournalEntry) -> Any:
    """Confirm an undo, and the page with its effect if there is one."""
    answer = client.post(page(entry, "undo"))
    while answer.status_code == 200 and "carried" in (answer.context or {}):
        sent = {"_carried": answer.context["carried"], "_sure": "yes"}
        answer = client.post(page(entry, "undo"), sent)
    return answer


def problems(client: Client, entry: JournalEntry) -> list[str]:
    found: list[str] = client.get(page(entry)).context["problems"]
    return found


def state() -> dict[str, list[dict[str, Any]]]:
    """Return all journaled columns of all journaled tables."""
    found = {}
    for name, table in BY_NAME.items():
        model = model_of(name)
        names = {str(field.column): field.attname for field in model._meta.concrete_fields}
        rows = model._base_manager.order_by("pk").values(*(names[column] for column in table.columns))
        found[name] = [{column: row[names[column]] for column in table.columns} for row in rows]
    return found


@pytest.fixture
def wiki() -> Application:
    found: Application = ApplicationFactory(
        name="Wiki", origins=["https://wiki.example.com"], groups=["staff"]
    )
    RuleFactory(application=found, path="/few", who="chosen", users=[UserFactory(username="bob")])
    return found


def in_one_change(act: Callable[[], object]) -> JournalEntry:
    """Make a change as the author "somebody", and return an entry of it."""
    with acting(lambda: "somebody"), transaction.atomic():
        act()
    return JournalEntry.objects.order_by("-pk")[0]


def delete_rule() -> None:
    Rule.objects.get(path="/few").delete()


def delete_application() -> None:
    Application.objects.get(name="Wiki").delete()


def delete_group() -> None:
    Group.objects.get(name="staff").delete()


def move_origin() -> None:
    other = ApplicationFactory(name="Other")
    Origin.objects.update(application=other)
    Application.objects.filter(name="Wiki").update(enabled=False)


def rename_user() -> None:
    user = User.objects.get(username="bob")
    user.username, user.display_name = "robert", "Röbert 🦊"
    user.save()


def swap_origin() -> None:
    wiki = Application.objects.get(name="Wiki")
    Origin.objects.all().delete()
    Origin.objects.create(application=wiki, value="https://wiki.example.com")
    Origin.objects.create(application=wiki, value="https://second.example.com")


CHANGES = (delete_rule, delete_application, delete_group, move_origin, rename_user, swap_origin)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_undoing_a_change_restores_every_byte(
    carols: Client, wiki: Application, change: Callable[[], None]
) -> None:
    before = state()
    entry = in_one_change(change)
    assert state() != before

    answer = undo_change(carols, entry)

    assert answer.status_code == 302
    assert state() == before
    assert AuditEvent.objects.get(kind="change_undone").actor == "carol"
    assert newest(entry.table_name).actor == "carol"


def test_an_undo_can_be_undone(carols: Client, wiki: Application) -> None:
    entry = in_one_change(delete_rule)
    after = state()
    undo_change(carols, entry)

    undo_change(carols, JournalEntry.objects.order_by("-pk")[0])

    assert state() == after


def test_a_change_with_a_later_change_is_not_undone(carols: Client, wiki: Application) -> None:
    first = in_one_change(lambda: Rule.objects.filter(path="/few").update(note="one"))
    second = in_one_change(lambda: Rule.objects.filter(path="/few").update(note="two"))

    found = carols.get(page(first)).context
    answer = carols.post(page(first, "undo"))

    assert found["later"] == second
    assert answer["Location"] == page(first)
    assert Rule.objects.get(path="/few").note == "two"


def test_creating_a_group_is_not_undone_if_a_rule_uses_it_now(carols: Client, wiki: Application) -> None:
    made = in_one_change(lambda: Group.objects.create(name="new"))
    Rule.objects.get(path="/few").groups.add(Group.objects.get(name="new"))

    assert carols.get(page(made)).context["later"].table_name == "authgate_rule_groups"


def test_a_membership_in_a_deleted_group_is_not_restored(carols: Client, wiki: Application) -> None:
    bob = User.objects.get(username="bob")
    bob.groups.add(Group.objects.get(name="staff"))
    left = in_one_change(bob.groups.clear)
    in_one_change(delete_group)

    assert carols.get(page(left)).context["later"].after is None


def test_the_changes_of_an_undo_are_shown_first(carols: Client, wiki: Application) -> None:
    entry = in_one_change(delete_rule)

    answer = carols.get(page(entry, "undo"))

    assert "/few" in answer.content.decode()
    assert not Rule.objects.filter(path="/few").exists()


def test_users_who_gain_access_are_shown_first(carols: Client, wiki: Application) -> None:
    entry = in_one_change(delete_rule)

    answer = carols.post(page(entry, "undo"))

    assert [each.name for each in answer.context["effect"].gained] == ["Wiki"]
    assert not Rule.objects.filter(path="/few").exists()


def test_a_restored_row_has_the_default_in_a_newer_column(carols: Client, wiki: Application) -> None:
    rule = Rule.objects.get(path="/few")
    in_one_change(delete_rule)
    gone = newest("authgate_rule", key=rule.pk)
    older = {name: value for name, value in (gone.before or {}).items() if name != "passkey"}
    entry = JournalEntry.objects.create(
        at=gone.at, table_name=gone.table_name, key=gone.key, before=older, application=wiki.pk
    )

    undo_change(carols, entry)

    assert Rule.objects.get(pk=rule.pk).passkey is False


# ---- users who come back ----------------------------------------------------------------------------------


def deleted(**fields: Any) -> tuple[int, JournalEntry]:
    user = UserFactory(username="eve", email="eve@example.com", verified=True, **fields)
    user.set_password("correct horse battery staple")
    user.save()
    key = user.pk
    in_one_change(user.delete)
    return key, newest("accounts_user", key=key)


def test_a_deleted_user_is_restored_without_credentials(carols: Client) -> None:
    key, entry = deleted(groups=["staff"])

    undo_change(carols, entry)

    eve = User.objects.get(pk=key)
    assert (eve.username, eve.is_active, eve.has_usable_password()) == ("eve", True, False)
    assert eve.groups.get().name == "staff"
    assert EmailAddress.objects.filter(user=eve, verified=True).exists()


def test_a_disabled_user_is_restored_disabled(carols: Client) -> None:
    key, entry = deleted(is_active=False)

    undo_change(carols, entry)

    assert not User.objects.get(pk=key).is_active


def test_staff_who_may_not_enable_users_restore_them_disabled(sams: Client, sam: User) -> None:
    sam.user_permissions.remove(Permission.objects.get(codename="change_user"))
    key, entry = deleted()

    undo_change(sams, entry)

    assert not User.objects.get(pk=key).is_active


# ---- attacks ----------------------------------------------------------------------------------------------


def privilege(who: str, **fields: Any) -> JournalEntry:
    user = User.objects.filter(username=who).first() or UserFactory(username=who)
    return in_one_change(lambda: User.objects.filter(pk=user.pk).update(**fields))


def refused(client: Client, entry: JournalEntry) -> bool:
    before = state()
    answer = client.post(page(entry, "undo"))
    return answer.status_code in (302, 403) and state() == before


def test_staff_with_only_the_journals_permission_undo_nothing(
    browser_of: Callable[[User], Client], wiki: Application
) -> None:
    reader = UserFactory(username="reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_journalentry"))
    client, entries = browser_of(reader), [in_one_change(delete_rule), in_one_change(rename_user)]
    entries += [in_one_change(delete_group), in_one_change(delete_application)]

    for entry in entries:
        assert client.get(page(entry)).status_code == 200
        assert refused(client, entry)


def test_staff_without_the_permission_see_nothing(browser_of: Callable[[User], Client]) -> None:
    client = browser_of(UserFactory(username="clerk", is_staff=True))
    entry = privilege("eve", is_active=False)

    urls = ("/admin/authgate/journalentry/", page(entry), page(entry, "undo"))
    assert [client.get(url).status_code for url in urls] == [403] * 3
    assert client.post(page(entry, "undo")).status_code == 403


@pytest.mark.parametrize("flag", ["is_staff", "is_superuser"])
def test_staff_do_not_undo_changes_of_rights(sams: Client, flag: str) -> None:
    UserFactory(username="eve", **{flag: True})
    entry = privilege("eve", **{flag: False})

    assert refused(sams, entry)


def test_staff_do_not_undo_their_own_demotion(sams: Client, sam: User) -> None:
    User.objects.filter(pk=sam.pk).update(is_superuser=True)
    entry = privilege("sam", is_superuser=False)

    assert refused(sams, entry)


def test_staff_do_not_undo_changes_of_a_privileged_user(sams: Client, carol: User) -> None:
    entry = privilege("carol", display_name="Carol the Great")

    assert refused(sams, entry)


def test_staff_do_not_restore_a_membership_with_permissions(sams: Client) -> None:
    eve, group = UserFactory(username="eve"), GroupFactory(name="helpers")
    eve.groups.add(group)
    entry = in_one_change(eve.groups.clear)
    group.permissions.add(Permission.objects.get(codename="view_user"))

    assert refused(sams, entry)


def test_staff_do_not_restore_a_superuser(sams: Client) -> None:
    key, entry = deleted(is_superuser=True, is_staff=True)

    assert refused(sams, entry)
    assert not User.objects.filter(pk=key).exists()


def test_staff_do_not_restore_the_origin_of_an_application_with_tokens(
    sams: Client, wiki: Application
) -> None:
    Application.objects.filter(pk=wiki.pk).update(access_token=True)
    entry = in_one_change(lambda: Origin.objects.update(value="https://new.example.com"))

    assert refused(sams, entry)


def test_staff_undo_what_they_could_do_by_hand(sams: Client, wiki: Application) -> None:
    before = state()
    entry = in_one_change(delete_rule)

    undo_change(sams, entry)

    assert state() == before


def test_users_do_not_undo_changes_of_their_own_rights(carols: Client, carol: User) -> None:
    User.objects.filter(pk=carol.pk).update(is_active=False)
    entry = privilege("carol", is_active=True)

    assert refused(carols, entry)


def test_a_name_that_another_user_has_now_is_not_restored(carols: Client, wiki: Application) -> None:
    entry = in_one_change(rename_user)
    UserFactory(username="zoe", email="bob@example.org", verified=True)
    User.objects.filter(username="zoe").update(username="Bob")

    assert refused(carols, entry)


@pytest.mark.parametrize("key", ["0", "99999999999999999999", "-1", "x", "1%00"])
def test_an_odd_number_of_a_change_is_not_found(carols: Client, key: str) -> None:
    for act in ("change", "undo"):
        assert carols.get(f"/admin/authgate/journalentry/{key}/{act}/").status_code in (302, 404)
        assert carols.post(f"/admin/authgate/journalentry/{key}/{act}/").status_code in (302, 403, 404)


def test_the_journals_beginning_cannot_be_undone(carols: Client, wiki: Application) -> None:
    entry = newest("authgate_rule")
    before = state()
    baseline = JournalEntry.objects.create(
        at=entry.at, table_name="authgate_rule", key=entry.key, after=entry.after, is_baseline=True
    )

    assert carols.get(page(baseline)).status_code == 404
    assert carols.post(page(baseline, "undo")).status_code == 404
    assert state() == before


# ---- the list ---------------------------------------------------------------------------------------------


def test_each_table_and_column_of_the_journal_has_words() -> None:
    assert LABELS.keys() == BY_NAME.keys()
    for name, table in BY_NAME.items():
        assert all(label_of_column(name, column) for column in table.columns)
        assert name in NAMES or references(name)


@pytest.mark.parametrize("term", ["bob", "Wiki", "staff", "somebody", "eve", "\0", "%", "x" * 5000])
def test_changes_are_found_by_object_person_and_author(carols: Client, wiki: Application, term: str) -> None:
    deleted()
    in_one_change(rename_user)
    User.objects.filter(username="robert").update(username="bob")
    in_one_change(delete_rule)

    answer = carols.get("/admin/authgate/journalentry/", {"q": term})

    assert answer.status_code == 200
    if len(term) > 1 and len(term) < 100:
        assert answer.context["cl"].result_list


def test_no_page_shows_a_secret(carols: Client) -> None:
    _key, entry = deleted()
    hash_of = "correct horse"

    for url in ("/admin/authgate/journalentry/", page(entry), page(entry, "undo")):
        assert hash_of not in carols.get(url).content.decode()


# ---- two at once ------------------------------------------------------------------------------------------


@pytest.fixture
def change(people: Cast) -> Iterator[JournalEntry]:
    RuleFactory(application=Application.objects.get(name="Wiki"), path="/few", who="signed_in")
    yield in_one_change(delete_rule)


def test_one_of_two_simultaneous_undos_writes(change: JournalEntry) -> None:
    barrier = threading.Barrier(2)

    def one(_number: int) -> str:
        barrier.wait(30)
        try:
            with transaction.atomic():
                undo.lock(undo.steps_for(undo.change_of(change)))
                undo.take_back(undo.steps_for(undo.change_of(change)))
            return "written"
        except undo.CannotUndo as problem:
            return problem.reason
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        found = sorted(pool.map(one, range(2)))

    assert found == ["later", "written"]
    assert Rule.objects.filter(path="/few").count() == 1
    assert typed(BY_NAME["authgate_rule"], newest("authgate_rule").after or {})["path"] == "/few"
