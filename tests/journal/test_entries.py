"""The journal records every change, however it is made, and its author; but never a secret."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import StrictGroup, User
from authgate.encryption import EncryptedField
from authgate.journal import triggers
from authgate.journal.actor import acting
from authgate.journal.tables import BY_NAME, TABLES
from authgate.models import Application, JournalContext, JournalEntry, JournalGap, Origin, Rule
from tests.factories import ApplicationFactory, UserFactory
from tests.front.serving import Cast, Database
from tests.lazy_states import lazy_states  # noqa: F401


def entries() -> list[JournalEntry]:
    return list(JournalEntry.objects.filter(is_baseline=False).order_by("pk"))


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


WRITES: dict[str, tuple[Callable[[User], object], str, str, object, object]] = {
    "a model's save": (lambda user: setattr_and_save(user), "accounts_user", "is_staff", False, True),
    "QuerySet.update": (
        lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
        "accounts_user",
        "is_active",
        True,
        False,
    ),
    "raw SQL": (
        lambda user: sql("UPDATE accounts_user SET display_name = 'Raw' WHERE username = 'alice'"),
        "accounts_user",
        "display_name",
        "",
        "Raw",
    ),
    "bulk_create": (
        lambda user: Origin.objects.bulk_create(
            [Origin(application=Application.objects.get(name="Wiki"), value="https://x.example.com")]
        ),
        "authgate_origin",
        "value",
        None,
        "https://x.example.com",
    ),
}


def setattr_and_save(user: User) -> None:
    user.is_staff = True
    user.save()


@pytest.mark.parametrize("how", WRITES)
def test_a_change_is_journaled_however_it_is_made(how: str, people: Cast) -> None:
    write, table, column, before, after = WRITES[how]
    User.objects.filter(pk=people.alice.pk).update(display_name="")
    people.alice.refresh_from_db()
    old = len(entries())

    write(people.alice)

    [entry] = entries()[old:]
    assert entry.table_name == table
    assert (entry.before or {}).get(column) == before
    assert (entry.after or {}).get(column) == after


def test_a_cascade_is_journaled_row_by_row(people: Cast) -> None:
    application = ApplicationFactory(name="Gone", origins=["https://gone.example.com"], groups=["staff"])
    key, old = application.pk, len(entries())

    application.delete()

    gone = [entry.table_name for entry in entries()[old:] if entry.after is None]
    assert sorted(gone) == [
        "authgate_application",
        "authgate_origin",
        "authgate_rule",
        "authgate_rule_groups",
    ]
    assert {entry.application for entry in entries()[old:]} == {key}


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_a_truncated_table_is_journaled_row_by_row(people: Cast) -> None:
    members, old = User.groups.through.objects.count(), len(entries())

    sql("TRUNCATE accounts_user_groups")

    gone = entries()[old:]
    assert len(gone) == members > 0
    assert {entry.table_name for entry in gone if entry.after is None} == {"accounts_user_groups"}


def test_unchanged_rows_are_not_journaled(people: Cast) -> None:
    old = len(entries())

    people.alice.set_password("another long enough secret")
    people.alice.save()
    User.objects.filter(pk=people.alice.pk).update(is_active=True)

    assert len(entries()) == old


def test_a_change_that_is_rolled_back_is_not_journaled(people: Cast) -> None:
    old = len(entries())

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Group.objects.create(name="never")
        raise ZeroDivisionError

    assert len(entries()) == old


# ---- secrets ----------------------------------------------------------------------------------------------


def test_each_column_of_a_journaled_table_is_named_or_left_out() -> None:
    models = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}

    for table in TABLES:
        columns = {str(field.column) for field in models[table.name]._meta.concrete_fields}
        assert columns == {*table.columns, *table.left_out}, table.name


def test_no_column_of_the_journal_is_secret() -> None:
    models = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
    secret = ("password", "digest", "secret", "private", "token_")

    for table in TABLES:
        for field in models[table.name]._meta.concrete_fields:
            if field.column in table.columns:
                assert not isinstance(field, EncryptedField)
                assert not any(word in str(field.column) for word in secret)


def test_a_password_is_nowhere_in_the_journal(people: Cast) -> None:
    user = UserFactory(username="eve")
    user.set_password("correct horse battery staple")
    user.save()
    user.is_active = False
    user.save()

    assert user.password not in str([(entry.before, entry.after) for entry in JournalEntry.objects.all()])


# ---- authors ----------------------------------------------------------------------------------------------


def test_the_author_and_the_number_of_a_change(people: Cast) -> None:
    old = len(entries())

    with acting(lambda: "carol"), transaction.atomic():
        Group.objects.create(name="one")
        people.alice.groups.clear()

    found = entries()[old:]
    assert {entry.actor for entry in found} == {"carol"}
    assert len({entry.change for entry in found}) == 1 and found[0].change
    assert len(found) == 2
    assert not JournalContext.objects.exists()


def test_the_author_of_a_change_is_not_that_of_the_next(people: Cast) -> None:
    with acting(lambda: "carol"):
        User.objects.filter(pk=people.alice.pk).update(display_name="By Carol")
    User.objects.filter(pk=people.alice.pk).update(display_name="Outside")

    first, second = entries()[-2:]
    assert (first.actor, second.actor) == ("carol", "")
    assert first.change != second.change


def test_an_unjournaled_change_makes_no_more_queries(people: Cast) -> None:
    alice = people.alice
    with CaptureQueriesContext(connection) as asked, acting(lambda: "alice"):
        alice.save(update_fields=["last_login"])
        alice.save(update_fields=["language", "last_login"])
    assert len(asked) == 2

    with CaptureQueriesContext(connection) as asked, acting(lambda: "alice"):
        alice.save(update_fields=["last_login", "display_name"])
    assert len(asked) > 1


def test_a_failed_change_leaves_no_author_behind(people: Cast) -> None:
    with acting(lambda: "carol"), pytest.raises(IntegrityError), transaction.atomic():
        Group.objects.create(name=Group.objects.all()[0].name)
    Group.objects.create(name="later")

    assert entries()[-1].actor == ""


# ---- guards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE authgate_journalentry SET actor = 'nobody'",
        "DELETE FROM authgate_journalentry",
        "DELETE FROM authgate_journalentry WHERE id = (SELECT max(id) FROM authgate_journalentry)",
    ],
)
def test_entries_cannot_be_changed_or_deleted(statement: str, people: Cast) -> None:
    before = list(JournalEntry.objects.values_list("pk", "actor"))

    with pytest.raises(IntegrityError), transaction.atomic():
        sql(statement)

    assert list(JournalEntry.objects.values_list("pk", "actor")) == before != []


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_the_journal_cannot_be_truncated(people: Cast) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        sql("TRUNCATE authgate_journalentry")

    assert JournalEntry.objects.exists()


def test_permission_to_delete_entries_ends_with_its_block(people: Cast) -> None:
    with transaction.atomic():
        with triggers.passing():
            sql("DELETE FROM authgate_journalentry")
        Group.objects.create(name="new")
        with pytest.raises(IntegrityError), transaction.atomic():
            sql("DELETE FROM authgate_journalentry")

    assert JournalEntry.objects.count() == 1


# ---- the beginning, and migrations ------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.usefixtures("lazy_states")
def test_the_journal_begins_with_the_existing_state(people: Cast) -> None:
    StrictGroup.objects.create(group=Group.objects.all()[0])
    call_command("migrate", "authgate", "0017", interactive=False, verbosity=0)
    call_command("migrate", interactive=False, verbosity=0)

    found = JournalEntry.objects.filter(table_name="accounts_user", key=people.alice.pk)
    assert triggers.missing() == set()
    assert [(entry.is_baseline, entry.before) for entry in found] == [(True, None)]
    assert found[0].after["username"] == "alice"
    assert JournalEntry.objects.filter(table_name="authgate_rule").count() == Rule.objects.count() > 0
    assert JournalEntry.objects.filter(table_name="accounts_strictgroup").count() == 1
    assert [gap.reason for gap in JournalGap.objects.all()] == ["beginning"]


def test_changes_without_triggers_are_journaled_afterwards(database: Database, people: Cast) -> None:
    bob = UserFactory(username="bobby")
    table = BY_NAME["accounts_user"]
    old = len(entries())
    with connection.cursor() as cursor:
        for name in triggers.trigger_names(table, connection.vendor):
            on = " ON accounts_user" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER {name}{on}")
    User.objects.filter(pk=bob.pk).update(is_active=False)
    lacking = triggers.missing()

    triggers.install()

    [entry] = entries()[old:]
    assert lacking
    assert (entry.key, entry.before["is_active"], entry.after["is_active"]) == (bob.pk, True, False)
    assert JournalGap.objects.filter(reason="migration").count() == 1


@pytest.mark.long
@pytest.mark.usefixtures("lazy_states")
def test_migrating_without_changes_leaves_no_gap(database: Database, people: Cast) -> None:
    old = JournalEntry.objects.count()
    call_command("migrate", "accounts", "0016", interactive=False, verbosity=0)
    call_command("migrate", interactive=False, verbosity=0)

    assert not JournalGap.objects.filter(reason="migration").exists()
    assert JournalEntry.objects.count() == old


@pytest.mark.parametrize(("backend", "written"), [("", 0), ("http://127.0.0.1:8000", 1)])
def test_a_new_column_is_journaled_only_if_it_differs_from_its_default(
    people: Cast, backend: str, written: int
) -> None:
    application = ApplicationFactory(name="Old", backend=backend)
    entry = JournalEntry.objects.get(table_name="authgate_application", key=application.pk)
    older = {name: value for name, value in (entry.after or {}).items() if name != "backend"}
    with triggers.passing():
        entry.delete()
        JournalEntry.objects.create(at=entry.at, table_name=entry.table_name, key=entry.key, after=older)
    old = len(entries())

    triggers.install()

    assert len(entries()) - old == written
    assert not JournalGap.objects.filter(reason="migration").exists()
