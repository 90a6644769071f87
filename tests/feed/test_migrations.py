"""Triggers survive migrations: forwards, backwards, and tables that SQLite creates again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, migrations, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django.utils import timezone

from accounts.models import Upstream, UpstreamPicture, User
from authgate.endpoints.check_view import _memory as memory_of_the_worker
from authgate.endpoints.check_view import answer_check
from authgate.models import Change
from authgate.worker import feed as feed_module
from authgate.worker import loader, triggers
from authgate.worker.feed import FRESH_FOR, Feed, Source
from tests.authgate.asking import facts
from tests.factories import UpstreamFactory, UserFactory
from tests.feed.conftest import Clock
from tests.feed.test_freshness import remember
from tests.front.serving import WIKI, Cast, Database
from tests.lazy_states import lazy_states  # noqa: F401

pytestmark = pytest.mark.usefixtures("lazy_states")


def migrate(*target: str) -> None:
    call_command("migrate", *target, interactive=False, verbosity=0)


@contextmanager
def table_created_again() -> Iterator[None]:
    """Alter a watched table, as a migration of a later release would. For that, SQLite creates it again."""
    state = MigrationExecutor(connection).loader.project_state()
    before: ProjectState = state.clone()
    operation = migrations.AddField("gatesession", "later", models.CharField(max_length=9, default="x"))
    operation.state_forwards("authgate", state)
    with connection.schema_editor() as editor:
        operation.database_forwards("authgate", editor, before, state)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            operation.database_backwards("authgate", editor, state, before)


def test_after_backwards_and_forwards_the_triggers_are_there(database: Database) -> None:
    migrate("authgate", "0001")
    tables_between = connection.introspection.table_names()
    migrate()

    assert "authgate_change" not in tables_between
    assert triggers.missing() == set()


def test_pictures_of_providers_survive_a_migration_back_and_forwards(database: Database) -> None:
    picture = UpstreamPicture.objects.create(upstream=UpstreamFactory(), content=b"picture")

    migrate("accounts", "0010")
    tables_between = connection.introspection.table_names()
    migrate()

    assert UpstreamPicture._meta.db_table not in tables_between
    assert Upstream.objects.filter(pk=picture.pk, picture=None).exists()
    assert triggers.missing() == set()


def test_existing_users_with_similar_names_are_kept(database: Database, people: Cast) -> None:
    double = UserFactory(username="double")
    migrate("accounts", "0011")
    User.objects.filter(pk=double.pk).update(username="al\u0131ce")
    columns_between = table_columns(User._meta.db_table)
    migrate()

    found = User.objects.order_by("pk").filter(skeleton="alice").values_list("username", "skeleton_copy")
    assert "skeleton" not in columns_between
    assert list(found) == [("alice", 0), ("al\u0131ce", 1)]
    assert triggers.missing() == set()


def test_migrating_backwards_deletes_ended_memberships(database: Database, people: Cast) -> None:
    """Without the column, a membership would never end."""
    people.alice.memberships.update(ends_at=timezone.now() + timedelta(hours=1))
    migrate("accounts", "0019")
    columns_between = table_columns("accounts_user_groups")
    migrate()

    found = User.groups.through.objects.values_list("user__username", "group__name", "ends_at")
    assert "ends_at" not in columns_between
    assert list(found) == [("bob", "guests", None)]
    assert triggers.missing() == set()


def table_columns(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


def test_all_the_way_back_and_forwards_again(database: Database) -> None:
    migrate("authgate", "zero")
    migrate()

    assert triggers.missing() == set()


def test_tables_can_be_written_while_the_feed_is_migrated_away(database: Database, people: Cast) -> None:
    migrate("authgate", "0001")

    with connection.cursor() as cursor:  # the model has the columns of the newest migration
        cursor.execute("DELETE FROM accounts_user_groups WHERE user_id = %s", [people.alice.pk])
    migrate()

    assert Change.objects.filter(kind="user", key=None).exists()


def test_after_a_migration_every_worker_forgets_everything(feed: Feed, clock: Clock, people: Cast) -> None:
    digest = remember(feed, people.alice_cookie)

    migrate()
    clock.added += FRESH_FOR

    assert feed.ensure_fresh() is Source.MEMORY
    assert len(feed.memory) == 0
    assert loader.load_session(digest) is not None


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_a_table_created_again_without_triggers_is_noticed_at_once(
    feed: Feed, clock: Clock, people: Cast
) -> None:
    remember(feed, people.alice_cookie)

    with table_created_again():
        clock.added += FRESH_FOR
        lacking = triggers.missing()
        source = feed.ensure_fresh()

    assert lacking or triggers.missing() == set()
    assert source is (Source.DATABASE if lacking else Source.MEMORY)


def test_without_triggers_a_worker_answers_correctly_from_the_database(
    feed: Feed, clock: Clock, people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "current", feed)
    remember(feed, people.alice_cookie)
    on = " ON accounts_user_groups" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER ikd_accounts_user_groups_delete{on}")
    clock.added += FRESH_FOR
    asked = facts(f"{WIKI}/", cookie=people.alice_cookie)
    before = answer_check(asked, memory_of_the_worker()).status

    people.alice.groups.clear()

    assert before == 200
    assert answer_check(asked, memory_of_the_worker()).status == 403
