"""How long a session lives: the absolute lifetime to the second, and the idle timeout never early."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone

from authgate.endpoints.check_view import answer_check
from authgate.models import SignIn
from authgate.sign_ins import end_sign_ins
from authgate.worker.feed import Feed
from authgate.worker.memory import OverMemory
from authgate.worker.write_behind import Writer
from tests.authgate.asking import facts
from tests.feed.test_freshness import refuse, remember, statements_go_through
from tests.front.serving import WIKI, Cast

pytestmark = pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def status(feed: Feed, cookie: str) -> int:
    feed.fresh_until = 0.0
    feed.ensure_fresh()
    return answer_check(
        facts(f"{WIKI}/", cookie=cookie, check="/authgate/nginx"), OverMemory(feed.memory)
    ).status


def seen_at(people: Cast, moment: datetime, **fields: object) -> int:
    sign_in = SignIn.objects.get(user=people.alice)
    SignIn.objects.filter(pk=sign_in.pk).update(last_seen_at=moment, **fields)
    return int(sign_in.pk)


def last_seen(people: Cast) -> datetime:
    return SignIn.objects.get(user=people.alice).last_seen_at


def test_the_absolute_lifetime_ends_to_the_second_in_memory_too(feed: Feed, people: Cast) -> None:
    seen_at(people, NOON, expires_at=NOON + timedelta(hours=1), idle_timeout=99_999)
    with time_machine.travel(NOON + timedelta(minutes=59, seconds=59), tick=False):
        remember(feed, people.alice_cookie)
        before = status(feed, people.alice_cookie)
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        at_the_end = status(feed, people.alice_cookie)

    assert (before, at_the_end) == (200, 401)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(599, 200), (600, 200), (659, 200), (660, 401), (9999, 401)]
)
def test_an_idle_session_ends_a_minute_late_at_most_and_never_early(
    seconds: int, expected: int, feed: Feed, people: Cast
) -> None:
    seen_at(people, NOON, expires_at=NOON + timedelta(days=1), idle_timeout=600)
    with time_machine.travel(NOON, tick=False):
        remember(feed, people.alice_cookie)
    with time_machine.travel(NOON + timedelta(seconds=seconds), tick=False):
        assert status(feed, people.alice_cookie) == expected


def test_a_session_used_through_another_worker_is_not_idle_here(feed: Feed, people: Cast) -> None:
    seen_at(people, NOON, expires_at=NOON + timedelta(days=1), idle_timeout=600)
    with time_machine.travel(NOON, tick=False):
        remember(feed, people.alice_cookie)
    seen_at(people, NOON + timedelta(seconds=500))
    with time_machine.travel(NOON + timedelta(seconds=700), tick=False):
        assert status(feed, people.alice_cookie) == 200


@pytest.mark.parametrize(
    "uses",
    [
        [("a", 0), ("b", 44), ("b", 89)],
        [("a", 0), ("a", 1), ("a", 59)],
        [("a", 0), ("b", 20), ("a", 59), ("b", 79)],
        [("a", 9), ("b", 58), ("b", 100), ("a", 117)],
    ],
)
def test_no_use_is_lost_among_several_workers(uses: list[tuple[str, int]], people: Cast) -> None:
    sign_in = seen_at(people, NOON - timedelta(hours=1))
    writers = {"a": Writer(), "b": Writer()}
    for second in range(300):
        with time_machine.travel(NOON + timedelta(seconds=second), tick=False):
            for worker, at in uses:
                if at == second:
                    writers[worker].note_use(sign_in, time.time())
            for writer in writers.values():
                writer.flush()

    behind = NOON + timedelta(seconds=uses[-1][1]) - last_seen(people)

    assert timedelta(0) <= behind < timedelta(seconds=60)


def test_last_seen_is_written_once_a_minute_however_often_a_session_is_used(
    people: Cast, django_assert_max_num_queries: object
) -> None:
    sign_in = seen_at(people, NOON - timedelta(hours=1))
    writer, written = Writer(), set()
    for second in range(600):
        with time_machine.travel(NOON + timedelta(seconds=second), tick=False):
            writer.note_use(sign_in, time.time())
            writer.flush()
            written.add(last_seen(people))

    assert 9 <= len(written) <= 11


def test_last_seen_never_revives_an_ended_session(feed: Feed, people: Cast) -> None:
    sign_in = seen_at(people, timezone.now() - timedelta(hours=1))
    writer = Writer()
    writer.note_use(sign_in, time.time())
    end_sign_ins(SignIn.objects.filter(pk=sign_in))
    before = last_seen(people)

    writer.flush()

    assert last_seen(people) == before
    assert status(feed, people.alice_cookie) == 401


def test_a_use_that_could_not_be_written_is_written_later(people: Cast) -> None:
    sign_in = seen_at(people, NOON)
    writer = Writer()
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        writer.note_use(sign_in, time.time())
        with statements_go_through(refuse), pytest.raises(OperationalError):
            writer.flush()

        writer.flush()

    assert last_seen(people) == NOON + timedelta(hours=1)


def test_a_graceful_end_writes_pending_uses_early(people: Cast) -> None:
    sign_in = seen_at(people, NOON)
    writer = Writer()
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        writer.note_use(sign_in, time.time())
        writer.flush()
    with time_machine.travel(NOON + timedelta(hours=1, seconds=55), tick=False):
        writer.note_use(sign_in, time.time())

        writer.end()

    assert last_seen(people) >= NOON + timedelta(hours=1, seconds=0)
