"""An unused portal rarely wakes or queries the database, and still notices sign-outs to send."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from tests.feed.cluster import migrated
from tests.front.serving import Cast, Database, Portal, cast, eventually, migrate
from tests.openid.logout_receiver import Receiver, listening

WRITES_STATEMENTS = """
import os, sqlite3, sqlite3.dbapi2

def connect(*arguments, connect=sqlite3.connect, **options):
    opened = connect(*arguments, **options)
    log = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(statement):
        if not statement.startswith(("PRAGMA", "select sqlite_compileoption_used")):
            os.write(log, statement.replace("\\n", " ").encode() + b"\\n")

    opened.set_trace_callback(note)
    return opened

sqlite3.connect = sqlite3.dbapi2.connect = connect
"""
"""Python runs this at its start, because SQLite has no log. Statements of new connections do not count."""

OF_POSTGRESQL = re.compile(rb"LOG:  (statement|execute [^:]*): ")

WAITS = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)

SECONDS = 30.0
MOST = 40
"""The most statements in that time. A thread that polls twice a second makes 60.

The portal reads the feed in each process for checks, and does a round of access reviews.
"""

WAKES_A_SECOND = 35
"""The most wake-ups of the four processes. 22 were measured; ten ticks a second make 58."""


@pytest.fixture(params=["sqlite", "postgresql"])
def counted(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[Database, Callable[[], int]]]:
    """Return a database for this test alone, and a function that counts the servers' statements so far."""
    with django_db_blocker.unblock():
        if request.param == "sqlite":
            log = tmp_path / "statements"
            (tmp_path / "sitecustomize.py").write_text(WRITES_STATEMENTS.format(path=str(log)))
            database = Database(f"sqlite:///{tmp_path / 'ikd.sqlite3'}")
            migrate(database)
            yield database, lambda: len(log.read_bytes().splitlines())
            return
        cluster = migrated(log_statement="all")
        try:
            database = cluster.database("counted", "pattern")
            yield database, lambda: len(OF_POSTGRESQL.findall((cluster.folder / "log").read_bytes()))
        finally:
            cluster.remove()


@pytest.fixture
def people(counted: tuple[Database, Callable[[], int]], django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    with django_db_blocker.unblock(), counted[0].connected():
        yield cast()


@pytest.fixture
def portal(counted: tuple[Database, Callable[[], int]], people: Cast, tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path, counted[0], workers=2, IKD_PAGE_WORKERS="2", PYTHONPATH=str(tmp_path))
    yield portal.start()
    portal.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


def tell(receiver: Receiver, sid: str) -> None:
    """Write a sign-out to be delivered to a client, with raw SQL."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO openid_logoutdelivery "
            "(uri, audience, subject, sid, allow_private, created_at, due_at, tries, answer) "
            "VALUES (%s, 'client', 'subject', %s, %s, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0, '')",
            [receiver.uri, sid, True],
        )


def test_without_requests_the_portal_makes_almost_no_queries(
    portal: Portal, counted: tuple[Database, Callable[[], int]], people: Cast, receiver: Receiver
) -> None:
    assert portal.ask(people.alice_cookie).status == 200
    tell(receiver, "first")
    assert eventually(lambda: len(receiver.tokens) == 1)
    assert eventually(lambda: is_quiet(counted[1]))

    before, woken_before = counted[1](), wakes(portal)
    time.sleep(SECONDS)
    woken, asked = wakes(portal) - woken_before, counted[1]() - before

    assert asked <= MOST
    assert woken <= WAKES_A_SECOND * SECONDS
    assert b"asks twice a second" not in portal.log.read_bytes()
    tell(receiver, "second")
    assert eventually(lambda: len(receiver.tokens) == 2)


def wakes(portal: Portal) -> int:
    """Return how often the threads of a portal's processes have waited for something."""
    processes = [*portal.workers(), *portal.page_workers()]
    told = [file.read_text() for pid in processes for file in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(number) for text in told for number in WAITS.findall(text))


def is_quiet(count: Callable[[], int]) -> bool:
    """Return whether three seconds pass with few queries: work after a start or a write is done."""
    before = count()
    time.sleep(3)
    return count() - before <= 3
