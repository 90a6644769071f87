"""The change feed's databases: SQLite and PostgreSQL, each a migrated copy with the cast in it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from authgate.worker import loader
from authgate.worker.feed import Feed, boottime
from authgate.worker.memory import WorkerMemory
from tests.feed.cluster import Cluster
from tests.front.conftest import pattern  # noqa: F401
from tests.front.serving import Cast, Database, cast, migrate


@pytest.fixture(scope="session")
def cluster(django_db_blocker: DjangoDbBlocker) -> Iterator[Cluster]:
    """A PostgreSQL cluster with a migrated database `pattern`."""
    cluster = Cluster()
    try:
        cluster.start()
        with django_db_blocker.unblock():
            migrate(cluster.database("pattern"))
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(
    vendor: str, request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Database]:
    """A database of this test's own, which models read and write."""
    if vendor == "postgresql":
        found = request.getfixturevalue("cluster").database(f"t{uuid.uuid4().hex}", "pattern")
    else:
        shutil.copy(request.getfixturevalue("pattern"), tmp_path / "ikd.sqlite3")
        found = Database(f"sqlite:///{tmp_path / 'ikd.sqlite3'}")
    with django_db_blocker.unblock(), found.connected():
        yield found


@pytest.fixture
def people(database: Database) -> Cast:
    return cast()


class Clock:
    """A clock that goes on by itself, and by whatever a test adds."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return boottime() + self.added


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feed(database: Database, clock: Clock) -> Feed:
    """A worker's feed and memory, without the thread that reads: tests read when they want to."""
    return Feed(WorkerMemory(loader.gate_settings(), clock=clock), clock)
