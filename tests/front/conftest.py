"""One migrated database as a pattern, and a portal with the cast for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.front.serving import Cast, Database, Portal, cast
from tests.own_database import create_database_in
from tests.pattern import pattern as migrated_pattern


@pytest.fixture(scope="session")
def pattern() -> Path:
    """A migrated SQLite file, to be copied."""
    return migrated_pattern()


@pytest.fixture(scope="module")
def database(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[Database]:
    """A database that models and servers share."""
    database = Database(create_database_in(tmp_path_factory.mktemp("database")))
    with django_db_blocker.unblock(), database.connected():
        yield database


@pytest.fixture(scope="module")
def people(database: Database) -> Cast:
    return cast()


@pytest.fixture(scope="module")
def portal(database: Database, people: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    portal = Portal(tmp_path_factory.mktemp("portal"), database).start()
    yield portal
    portal.stop()
