"""The databases of the change feed's tests: SQLite and PostgreSQL, each a migrated copy with the cast."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from authgate.worker import loader
from authgate.worker.feed import Feed, boottime
from authgate.worker.memory import WorkerMemory
from tests.feed.cluster import Cluster, migrated
from tests.feed.copies import copies_of
from tests.front.conftest import pattern  # noqa: F401
from tests.front.serving import Cast, Database, cast

RUNNING = pytest.StashKey[Cluster]()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, django_db_blocker: DjangoDbBlocker) -> Cluster:
    """The PostgreSQL cluster of this process, with a migrated database `pattern`.

    For pytest, each folder that imports this fixture has its own. All of them share the cluster.
    """
    assert pytestconfig.option.markexpr != "quick", "`make quick` starts no server: see tests/quick.py"
    if RUNNING not in pytestconfig.stash:
        with django_db_blocker.unblock():
            pytestconfig.stash[RUNNING] = started = migrated()
        pytestconfig.add_cleanup(started.remove)
    return pytestconfig.stash[RUNNING]


@pytest.fixture(params=["sqlite", "postgresql"])
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(
    vendor: str, request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Database]:
    """A database for this test alone, which models read and write."""
    if vendor == "postgresql":
        copies = copies_of(request.getfixturevalue("cluster"))
        with copies.borrowed() as borrowed, django_db_blocker.unblock(), borrowed.connected():
            yield borrowed
        return
    shutil.copy(request.getfixturevalue("pattern"), tmp_path / "ikd.sqlite3")
    found = Database(f"sqlite:///{tmp_path / 'ikd.sqlite3'}")
    with django_db_blocker.unblock(), found.connected():
        yield found


@pytest.fixture
def people(database: Database) -> Cast:
    return cast()


class Clock:
    """A clock that runs by itself unless it is stopped, plus the seconds that a test adds."""

    def __init__(self) -> None:
        self.added = 0.0
        self._stopped_at: float | None = None

    def stop(self) -> None:
        self._stopped_at = boottime()

    def __call__(self) -> float:
        return (self._stopped_at or boottime()) + self.added


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feed(database: Database, clock: Clock) -> Feed:
    """A worker's feed and memory, without the reading thread. Tests read when they choose."""
    return Feed(WorkerMemory(loader.gate_settings(), clock=clock), clock)
