"""Two portals are upgraded in turn. With old and new code at once, no check and no sign-in is lost."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from tests.feed.cluster import Cluster
from tests.front.serving import ROOT, Portal, eventually
from tests.several.stage import Several, assert_nothing_lost, status_of, two_portals
from tests.several.test_across import sign_in_and_out

pytestmark = pytest.mark.proxy

PARTS = ("accounts", "authgate", "openid", "ikd_portal", "templates", "static", "locale", "manage.py")
MIGRATIONS = ":(glob)*/migrations/[0-9]*.py"


def git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


def commit_before() -> str:
    """Return the last release, or the commit before the newest migration. It is empty without a history."""
    release = git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD~1").decode().strip()
    newest = git("log", "-1", "--format=%H", "--diff-filter=A", "--", MIGRATIONS).decode().strip()
    return release or git("rev-parse", "--verify", f"{newest}~1").decode().strip()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the earlier code."""
    commit, folder = commit_before(), tmp_path_factory.mktemp("earlier")
    archive = git("archive", commit, *PARTS) if commit else b""
    if not archive:
        pytest.skip("this checkout has no history")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder)
    return folder


def migrate_back_to(code: Path) -> None:
    """Migrate the database back to the migrations of some code."""
    for app in ("openid", "accounts", "authgate", "ikd_portal"):
        newest = max(file.stem for file in (code / app / "migrations").glob("[0-9]*.py"))
        call_command("migrate", app, newest, interactive=False, verbosity=0)


@pytest.fixture
def old(
    cluster: Cluster, earlier: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Several]:
    """Two portals with the earlier code, on a database with its migrations."""
    database = cluster.database(f"u{uuid.uuid4().hex}", "pattern")
    with (
        django_db_blocker.unblock(),
        database.connected(),
        two_portals(
            database, tmp_path, None, code=earlier, prepare=lambda: migrate_back_to(earlier)
        ) as several,
    ):
        yield several


def applied() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations")
        return int(cursor.fetchone()[0])


def start_with_new_code(portal: Portal) -> None:
    portal.stop()
    portal.code = ROOT
    portal.start()
    assert eventually(lambda: status_of(portal, "/readyz") == 200)


def test_an_upgrade_of_one_portal_after_the_other_loses_nothing(old: Several) -> None:
    before = applied()
    with old.load() as loads:
        call_command("migrate", interactive=False, verbosity=0)
        time.sleep(1.5)
        sign_in_and_out(old, "alice")
        start_with_new_code(old.portals["b"])
        sign_in_and_out(old, "frank")
        time.sleep(0.5)
        start_with_new_code(old.portals["a"])

    assert applied() > before
    for load in loads:
        assert_nothing_lost(load)
    sign_in_and_out(old, "erin")
