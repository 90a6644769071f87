"""When a worker may answer from memory: shortly after it read the feed, and otherwise almost never."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from authgate.check.memory import UNKNOWN
from authgate.models import Application, Change, GateSession, Rule, SignIn
from authgate.worker import loader, triggers
from authgate.worker.feed import FAILING_AFTER, FORGET_AFTER, FRESH_FOR, ROUNDS_TO_REREAD, Feed, Source
from authgate.worker.memory import REREAD_AFTER
from authgate.worker.triggers import ENDINGS, WATCHED, trigger_names
from tests.factories import GroupFactory
from tests.feed.conftest import Clock
from tests.feed.test_moving_origins import Watched
from tests.front.serving import WIKI, Cast, Database, eventually

Statement = Callable[..., Any]


def digest_of(cookie: str) -> bytes:
    return hashlib.sha256(cookie.partition("=")[2].encode()).digest()


def remember(feed: Feed, cookie: str) -> bytes:
    """Read the feed and load a session, as a check does if memory lacks the session."""
    # On a busy machine, the reading may already be too old again.
    assert eventually(lambda: feed.ensure_fresh() is Source.MEMORY)
    digest = digest_of(cookie)
    assert feed.memory.hold(digest, loader.load_session(digest), feed.memory.generation)
    return digest


@contextmanager
def statements_go_through(wrapper: Statement) -> Iterator[None]:
    with connection.execute_wrapper(wrapper):
        yield


def refuse(*_: Any) -> None:
    raise OperationalError("the database went away")


class Pause:
    """Blocks the first statement of a thread until the test releases it."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, execute: Statement, *arguments: Any) -> Any:
        self.reached.set()
        assert self.go_on.wait(60)
        return execute(*arguments)


@contextmanager
def _reading(feed: Feed, pause: Pause) -> Iterator[None]:
    def read() -> None:
        with statements_go_through(pause):
            feed.ensure_fresh()
        connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    assert pause.reached.wait(60)
    try:
        yield
    finally:
        pause.go_on.set()
        thread.join(10)


def test_memory_answers_for_a_moment_after_each_reading(feed: Feed, clock: Clock) -> None:
    feed.ensure_fresh()

    fresh = feed.may_answer()
    clock.added += FRESH_FOR

    assert fresh
    assert not feed.may_answer()


def test_the_first_check_of_an_idle_worker_reads_the_feed_first(
    feed: Feed, clock: Clock, people: Cast
) -> None:
    digest = remember(feed, people.alice_cookie)
    clock.added += 5
    SignIn.objects.filter(user=people.alice).update(ended_at="2026-01-01T00:00Z")

    source = feed.ensure_fresh()

    assert source is Source.MEMORY
    assert feed.memory.session(digest, 0) is UNKNOWN


def test_no_check_is_answered_from_old_memory_while_another_thread_reads(
    feed: Feed, clock: Clock, people: Cast
) -> None:
    remember(feed, people.alice_cookie)
    clock.added += 5

    with _reading(feed, Pause()):
        answers_meanwhile = feed.may_answer()

    assert not answers_meanwhile
    assert feed.may_answer()


def test_a_check_waits_for_the_reading_of_another_thread(feed: Feed, clock: Clock) -> None:
    pause = Pause()
    with _reading(feed, pause):
        threading.Timer(0.3, pause.go_on.set).start()

        source = feed.ensure_fresh()

    assert source is Source.MEMORY


def test_a_hanging_database_counts_as_unreadable_after_a_while(feed: Feed, clock: Clock) -> None:
    feed.ensure_fresh()
    clock.added += FRESH_FOR
    with _reading(feed, Pause()):
        before = feed.may_answer()
        source = feed.ensure_fresh()
        clock.added += 8

        assert not before
        assert source is Source.MEMORY
        assert feed.ensure_fresh() is Source.NOBODY


def test_memory_answers_ten_seconds_longer_when_the_feed_cannot_be_read(feed: Feed, clock: Clock) -> None:
    clock.stop()
    feed.ensure_fresh()
    clock.added += 9.5
    with statements_go_through(refuse):
        within = feed.ensure_fresh()
        clock.added += 0.6
        after = feed.ensure_fresh()

    assert (within, after) == (Source.MEMORY, Source.NOBODY)
    assert feed.ensure_fresh() is Source.MEMORY


def test_no_check_is_answered_before_the_feed_was_read(feed: Feed) -> None:
    with statements_go_through(refuse):
        assert feed.ensure_fresh() is Source.NOBODY
    assert not feed.may_answer()


def test_memory_is_not_used_as_soon_as_a_trigger_is_missing(
    feed: Feed, clock: Clock, people: Cast, vendor: str
) -> None:
    remember(feed, people.alice_cookie)
    on = " ON authgate_signin" if vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER ikd_authgate_signin_update{on}")
    clock.added += FRESH_FOR

    source = feed.ensure_fresh()

    assert source is Source.DATABASE
    assert not feed.may_answer()


def test_memory_is_used_again_once_the_triggers_are_back(feed: Feed, clock: Clock) -> None:
    feed.ensure_fresh()
    with connection.cursor() as cursor:
        on = " ON authgate_rule" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER ikd_authgate_rule_delete{on}")
    clock.added += FRESH_FOR
    feed.ensure_fresh()

    triggers.install()

    assert feed.ensure_fresh() is Source.MEMORY


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_a_disabled_trigger_counts_as_missing(feed: Feed, clock: Clock) -> None:
    feed.ensure_fresh()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE authgate_signin DISABLE TRIGGER ikd_authgate_signin_update")
    clock.added += FRESH_FOR

    assert feed.ensure_fresh() is Source.DATABASE


def test_a_load_that_began_before_a_change_and_ended_after_it_is_not_kept(feed: Feed, people: Cast) -> None:
    feed.ensure_fresh()
    digest = digest_of(people.alice_cookie)
    generation = feed.memory.generation
    loaded = loader.load_session(digest)
    SignIn.objects.filter(user=people.alice).update(ended_at="2026-01-01T00:00Z")
    feed.fresh_until = 0.0
    feed.ensure_fresh()

    kept = feed.memory.hold(digest, loaded, generation)

    assert loaded is not None
    assert not kept
    assert feed.memory.session(digest, 0) is UNKNOWN


def test_reading_a_session_again_does_not_undo_a_later_change(feed: Feed, people: Cast) -> None:
    digest = remember(feed, people.alice_cookie)
    generation, loaded = feed.memory.generation, loader.load_session(digest)
    SignIn.objects.filter(user=people.alice).update(ended_at="2026-01-01T00:00Z")
    feed.fresh_until = 0.0
    feed.ensure_fresh()

    feed.memory.renew(digest, loaded, generation)

    assert feed.memory.session(digest, 0) is UNKNOWN


def test_each_round_reads_some_sessions_again_and_all_in_time(feed: Feed, clock: Clock, people: Cast) -> None:
    feed.ensure_fresh()
    digest = digest_of(people.alice_cookie)
    session = loader.load_session(digest)
    assert session is not None
    gone = [number.to_bytes(32) for number in range(6_000)]
    for each in [*gone, digest]:
        feed.memory.hold(each, session, feed.memory.generation)
    held = [len(feed.memory)]
    clock.added += REREAD_AFTER * 0.5

    for _ in range(ROUNDS_TO_REREAD * 6):
        clock.added += 1.0 / ROUNDS_TO_REREAD
        feed._reread()
        held.append(len(feed.memory))

    assert max(before - after for before, after in pairwise(held)) <= 6_001 // ROUNDS_TO_REREAD
    assert len(feed.memory) == 1
    assert feed.memory.due_for_rereading(REREAD_AFTER * 0.5) == []


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_many_sessions_are_looked_up_by_their_digests(feed: Feed, people: Cast) -> None:
    """SQLite would scan the index of all live sessions if the query had their condition, too."""
    with CaptureQueriesContext(connection) as queries:
        loader.load_sessions([number.to_bytes(32) for number in range(200)])

    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + queries[0]["sql"])
        plan = [row[-1] for row in cursor.fetchall()]
    assert plan[0].startswith("SEARCH authgate_gatesession USING INDEX") and "token_digest=?" in plan[0]


def test_an_application_that_changes_while_it_is_loaded_is_kept_only_in_its_new_state(
    feed: Feed, people: Cast
) -> None:
    """Otherwise, memory could briefly have a rule's old path with its new groups, and open both."""
    application = Application.objects.get(name="Wiki")
    has_changed = []
    feed.memory.applications = watched = Watched()
    seen: list[Any] = []
    watched.when_changed = lambda: seen.append(watched.get(WIKI))  # type: ignore[method-assign]

    def change_after_rules_were_read(execute: Statement, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if not has_changed and "authgate_rule" in sql and sql.startswith("SELECT"):
            has_changed.append(True)
            Rule.objects.filter(application=application).delete()
        return found

    with statements_go_through(change_after_rules_were_read):
        feed.ensure_fresh()

    held = feed.memory.application(WIKI)
    assert has_changed
    assert held is not None and held is not UNKNOWN and held.scopes == {}
    assert {id(each) for each in seen if each is not None} == {id(held)}


def test_a_reader_that_missed_deleted_changes_forgets_everything(feed: Feed, people: Cast) -> None:
    digest = remember(feed, people.alice_cookie)
    SignIn.objects.filter(user=people.alice).update(ended_at="2026-01-01T00:00Z")
    Change.objects.all().delete()
    feed.fresh_until = 0.0
    if connection.vendor == "postgresql":
        feed.last_read_began -= (
            FORGET_AFTER  # younger rows are never removed: each has the age of its transaction
        )

    feed.ensure_fresh()

    assert feed.memory.session(digest, 0) is UNKNOWN


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_memory_is_emptied_when_an_older_database_replaces_the_current_one(feed: Feed, people: Cast) -> None:
    newest = Change.objects.latest("pk").pk
    User.objects.filter(pk=people.alice.pk).update(display_name="A")
    digest = remember(feed, people.alice_cookie)
    Change.objects.filter(pk__gt=newest).delete()
    GateSession.objects.all()._raw_delete("default")
    Change.objects.filter(pk__gt=newest).delete()
    feed.fresh_until = 0.0

    feed.ensure_fresh()

    assert feed.memory.session(digest, 0) is UNKNOWN


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_a_replaced_database_is_noticed_even_when_its_feed_has_grown_as_long(
    feed: Feed, people: Cast
) -> None:
    User.objects.filter(pk=people.alice.pk).update(display_name="A")
    digest = remember(feed, people.alice_cookie)
    newest = Change.objects.latest("pk")
    Change.objects.filter(pk=newest.pk).update(kind="application", key=77)
    feed.fresh_until = 0.0

    feed.ensure_fresh()

    assert feed.memory.session(digest, 0) is UNKNOWN


def test_after_the_machine_was_suspended_the_worker_reads_first(feed: Feed, clock: Clock) -> None:
    feed.ensure_fresh()
    clock.added += FORGET_AFTER * 3

    assert not feed.may_answer()
    assert feed.ensure_fresh() is Source.MEMORY


@pytest.mark.parametrize("step", [-86_400, 86_400], ids=["back", "on"])
def test_stepping_the_clock_hides_no_change(feed: Feed, people: Cast, step: int) -> None:
    digest = remember(feed, people.alice_cookie)
    with time_machine.travel(time.time() + step):
        assert feed.memory.session(digest, 0) is not UNKNOWN
        SignIn.objects.filter(user=people.alice).update(ended_at="2026-01-01T00:00Z")
        feed.fresh_until = 0.0

        assert feed.ensure_fresh() is Source.MEMORY

    assert feed.memory.session(digest, 0) is UNKNOWN


def test_without_the_reading_thread_every_check_reads_the_feed(
    feed: Feed, clock: Clock, people: Cast
) -> None:
    digest = remember(feed, people.alice_cookie)
    for _ in range(3):
        clock.added += FRESH_FOR
        assert not feed.may_answer()
        assert feed.ensure_fresh() is Source.MEMORY
    people.alice.groups.clear()
    clock.added += FRESH_FOR

    feed.ensure_fresh()

    assert feed.memory.session(digest, 0) is UNKNOWN


def test_nothing_is_held_longer_than_a_minute_without_being_read_again(
    feed: Feed, clock: Clock, people: Cast
) -> None:
    digest = remember(feed, people.alice_cookie)
    clock.added += 61

    feed.ensure_fresh()

    assert feed.memory.session(digest, 0) is UNKNOWN


def test_applications_receive_only_the_new_name_of_a_renamed_group(feed: Feed, people: Cast) -> None:
    staff = GroupFactory(name="staff")
    application = Application.objects.get(name="Wiki")
    application.named_groups.set([staff])
    feed.ensure_fresh()
    staff.name = "crew"
    staff.save()
    feed.fresh_until = 0.0

    feed.ensure_fresh()

    held = feed.memory.application(WIKI)
    assert held is not None and held is not UNKNOWN
    assert held.named_groups == {"crew"}


def test_every_watched_table_has_its_triggers(database: Database, vendor: str) -> None:
    names = {name for watched in WATCHED for name in trigger_names(watched, vendor)}
    names |= {ending.name for ending in ENDINGS}

    assert triggers.missing() == set()
    assert len(names) > 30
    assert FAILING_AFTER > FRESH_FOR
