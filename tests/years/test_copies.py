"""Backup, restore and move, on both databases: every row is the same, and no user is signed in by it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings

from accounts.models import PortalSession, RememberedDevice, Upstream, User
from authgate.journal import triggers as journal
from authgate.journal.actor import acting_as_command
from authgate.journal.gaps import UnknownMoment, require_known
from authgate.models import Application, AuditEvent, Change, GateSession, JournalEntry, SignIn
from authgate.worker import loader, triggers
from authgate.worker.feed import FRESH_FOR, Feed
from authgate.worker.memory import WorkerMemory
from ikd_portal import copies
from openid.models import Grant
from tests.factories import UpstreamFactory, UserFactory
from tests.feed.cluster import Cluster
from tests.feed.conftest import Clock
from tests.feed.test_freshness import remember
from tests.front.serving import Cast, Database
from tests.lazy_states import lazy_states  # noqa: F401
from tests.years import rows


@pytest.fixture(autouse=True)
def var(settings: Settings, tmp_path: Path) -> None:
    settings.IKD_VAR = tmp_path


@pytest.fixture
def migrated_from_nothing(lazy_states: None) -> None:  # noqa: F811
    """Stand for a copy with tables that only its migrations created."""


@pytest.fixture(autouse=True)
def tables_at_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, pattern: Path) -> None:
    """Fill a new SQLite file with all tables before its migration, which would take seconds."""

    def call(command: str, *arguments: Any, **options: Any) -> None:
        settings = connections[copies.COPY].settings_dict
        path = Path(str(settings["NAME"]))
        if settings["ENGINE"].endswith("sqlite3") and not (path.exists() and path.stat().st_size):
            path.write_bytes(pattern.read_bytes())
        call_command(command, *arguments, **options)

    if "migrated_from_nothing" not in request.fixturenames:
        monkeypatch.setattr(copies, "call_command", call)


@pytest.fixture
def filled(people: Cast) -> Cast:
    """Return rows with each kind of column: secrets, bytes, JSON, many-to-many, addresses."""
    UpstreamFactory(name="A provider", client_secret="a secret")
    parent = SignIn.objects.filter(user=people.alice)[0]
    rows.grant(parent, offline=True)
    rows.save_all([rows.event("sign_in"), rows.event("refused")], [rows.portal_session()])
    rows.save_all([rows.remembered_device(people.bob)], [rows.api_token(people.bob)], [rows.kept_page()])
    people.alice.api_tokens.set([])
    return people


def run(command: str, *arguments: Any, **options: Any) -> None:
    """Run a command as `manage.py` does, which names it as the author of changes."""
    with acting_as_command([command]):
        call_command(command, *arguments, **options)


def backup(tmp_path: Path) -> Path:
    path = tmp_path / "backup.sqlite3"
    run("backup", str(path), verbosity=0)
    return path


@pytest.mark.usefixtures("migrated_from_nothing")
def test_a_backup_has_every_row_and_only_its_user_can_read_it(filled: Cast, tmp_path: Path) -> None:
    path = backup(tmp_path)

    with copies.opened(f"sqlite:///{path}"):
        assert copies.differences("default", copies.COPY) == []
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir() if "backup" in each.name] == ["backup.sqlite3"]


def test_a_backup_overwrites_no_file(filled: Cast, tmp_path: Path) -> None:
    backup(tmp_path)

    with pytest.raises(CommandError, match="exists: choose another name"):
        backup(tmp_path)


def test_a_difference_in_any_column_is_found(filled: Cast, tmp_path: Path) -> None:
    path = backup(tmp_path)
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("UPDATE authgate_auditevent SET details = '{\"url\": \"x\"}' WHERE kind = 'refused'")
        copy.execute("UPDATE accounts_upstream SET client_secret = 'x'")
        copy.commit()

    with copies.opened(f"sqlite:///{path}"):
        found = copies.differences("default", copies.COPY)

    assert sorted(found) == ["accounts_upstream", "authgate_auditevent"]


def test_a_restore_brings_every_row_back(filled: Cast, tmp_path: Path) -> None:
    path = backup(tmp_path)
    User.objects.filter(pk=filled.alice.pk).update(display_name="Somebody else")
    filled.alice.groups.clear()
    Application.objects.all().delete()
    AuditEvent.objects.all().delete()
    UserFactory(username="later")

    run("restore", str(path), "--keep-sessions", verbosity=0)

    with copies.opened(f"sqlite:///{path}"):
        differing = copies.differences("default", copies.COPY)
    assert sorted(differing) == ["authgate_auditevent", "authgate_journalgap"]
    assert User.objects.get(username="alice").groups.get().name == "staff"
    assert Upstream.objects.get().client_secret.reveal() == "a secret"
    assert triggers.missing() == set()
    UserFactory(username="the next")  # its number is free
    assert AuditEvent.objects.filter(kind="restored").count() == 1


def test_a_restore_brings_the_backups_journal_back(filled: Cast, tmp_path: Path) -> None:
    path, entries = backup(tmp_path), list(JournalEntry.objects.values_list("pk", "key", "after"))
    later = UserFactory(username="later")
    between = timezone.now()

    run("restore", str(path), "--keep-sessions", verbosity=0)

    assert list(JournalEntry.objects.values_list("pk", "key", "after")) == entries
    with pytest.raises(UnknownMoment, match="restored"):
        require_known(between)
    require_known(timezone.now())
    assert not User.objects.filter(pk=later.pk).exists()
    UserFactory(username="the next")
    newest = JournalEntry.objects.filter(table_name="accounts_user").latest("pk")
    assert (newest.after or {})["username"] == "the next"
    assert journal.missing() == set()


def test_after_a_restore_no_user_is_signed_in(filled: Cast, tmp_path: Path) -> None:
    path = backup(tmp_path)
    SignIn.objects.filter(user=filled.alice).update(ended_at="2026-01-01T00:00:00Z")

    run("restore", str(path), verbosity=0)

    assert not SignIn.objects.filter(ended_at=None).exists()
    assert not Grant.objects.filter(ended_at=None).exists()
    assert not PortalSession.objects.exists()
    assert not RememberedDevice.objects.exists()
    assert loader.load_session(remember_digest(filled)) is None


def remember_digest(people: Cast) -> bytes:
    return bytes(GateSession.objects.filter(sign_in__user=people.alice)[0].token_digest)


@pytest.mark.parametrize("options", [(), ("--keep-sessions",)], ids=["sessions end", "sessions go on"])
def test_after_a_restore_a_running_worker_forgets_everything(
    filled: Cast, tmp_path: Path, options: tuple[str, ...]
) -> None:
    clock = Clock()
    feed = Feed(WorkerMemory(loader.gate_settings(), clock=clock), clock)
    path = backup(tmp_path)
    remember(feed, filled.alice_cookie)
    before = len(feed.memory)

    run("restore", str(path), *options, verbosity=0)
    clock.added += FRESH_FOR
    feed.ensure_fresh()

    assert (before, len(feed.memory)) == (1, 0)


def test_a_restore_that_fails_changes_nothing(
    filled: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = backup(tmp_path)
    UserFactory(username="later")
    monkeypatch.setattr(copies, "end_sessions", lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        run("restore", str(path), verbosity=0)

    assert User.objects.filter(username="later").exists()
    assert SignIn.objects.filter(ended_at=None).exists()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".restored")] == []


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_a_file_that_is_not_a_backup_is_refused(filled: Cast, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "backup.sqlite3"
    path.write_bytes(content)

    with pytest.raises(CommandError, match="is no backup of the portal"):
        run("restore", str(path), verbosity=0)

    assert User.objects.filter(username="alice").exists()


@pytest.fixture
def elsewhere(vendor: str, cluster: Cluster, tmp_path: Path) -> Callable[[], Database]:
    """Return an empty database of the other kind."""
    if vendor == "sqlite":
        return lambda: cluster.database("elsewhere")
    return lambda: Database(f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}")


@pytest.mark.usefixtures("migrated_from_nothing")
def test_moving_to_the_other_database_and_back_keeps_every_row(
    filled: Cast, elsewhere: Callable[[], Database], tmp_path: Path
) -> None:
    path, other = backup(tmp_path), elsewhere()

    run("move", other.url, verbosity=0)

    with other.connected():
        with copies.opened(f"sqlite:///{path}"):
            differing = copies.differences("default", copies.COPY)
        assert triggers.missing() == set()
        assert Change.objects.exists()
        assert loader.load_session(remember_digest(filled)) is not None
        UserFactory(username="the next")
        run("move", f"sqlite:///{tmp_path / 'back.sqlite3'}", verbosity=0)
    with Database(f"sqlite:///{tmp_path / 'back.sqlite3'}").connected():
        assert User.objects.get(username="the next").pk > filled.bob.pk
        assert Upstream.objects.get().client_secret.reveal() == "a secret"
    assert differing == []
    assert connection.vendor in ("sqlite", "postgresql")


def test_moving_to_a_database_in_use_is_refused(filled: Cast, tmp_path: Path) -> None:
    with copies.opened(f"sqlite:///{tmp_path / 'other.sqlite3'}"):
        User.objects.using(copies.COPY).create(username="somebody")

    with pytest.raises(CommandError, match="has users: choose an empty one"):
        run("move", f"sqlite:///{tmp_path / 'other.sqlite3'}", verbosity=0)
