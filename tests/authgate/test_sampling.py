"""Visitors cannot fill the event log, and no user's events are lost because of another's."""

from __future__ import annotations

import time

import pytest
from django.conf import settings

from authgate import audit, sampling
from authgate.check.responses import Refusal
from authgate.models import AuditEvent
from authgate.sampling import PART_OF_A_USER, SUMMARY_EVERY, Bucket, Sample
from authgate.worker.write_behind import CHECKS_SHED, NOT_KEPT, SHED_EVERY, Writer

DAY = 24 * 3600
BURST = settings.IKD_EVENTS_AT_ONCE


def refusal(number: int, username: str = "") -> Refusal:
    return Refusal(
        f"{number:012x}", "nginx", "wrong credential", "https://wiki.example.com", "GET", "/", "192.0.2.1",
        username=username, application="Wiki",
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(sampling.sample, "_clock", lambda: now[0])
    return now


def test_a_bucket_refills_at_its_rate() -> None:
    bucket = Bucket(2.0, 10.0, 0.0)

    taken = [bucket.take(now) for now in (0.0, 0.0, 0.0, 9.0, 11.0, 11.0, 1000.0, 1000.0, 1000.0)]

    assert taken == [True, True, False, False, True, False, True, True, False]


def test_a_clock_that_is_set_back_does_not_refill_the_bucket() -> None:
    bucket = Bucket(1.0, 10.0, 100.0)

    assert [bucket.take(now) for now in (100.0, 50.0, 55.0)] == [True, False, False]


def test_a_day_of_constant_refusals_stores_fewer_than_two_thousand_rows() -> None:
    seconds = iter(range(DAY + 10))
    sample = Sample(lambda: float(next(seconds)))

    kept = sum(sample.keeps("refused", "Wiki") for _ in range(DAY))

    assert BURST <= kept < 2_000
    assert sample.due() == {("refused", "Wiki"): DAY - kept}


def test_many_refusals_of_visitors_or_one_user_do_not_displace_another_users() -> None:
    sample = Sample()
    for _ in range(5_000):
        sample.keeps("refused", "Wiki")
        sample.keeps("refused", "Wiki", "mallory")

    assert all(sample.keeps("refused", "Wiki", "alice") for _ in range(BURST // PART_OF_A_USER))


@pytest.mark.django_db
def test_omitted_events_are_counted_once_an_hour(clock: list[float]) -> None:
    own = Writer()
    for number in range(1_000):
        own.note_refusal(refusal(number))
        if number % 40 == 0:
            own.flush()
    own.flush()
    kept = AuditEvent.objects.count()

    clock[0] += SUMMARY_EVERY
    own.flush()
    own.flush()

    summary = AuditEvent.objects.get(reason=NOT_KEPT)
    assert kept == BURST
    assert (summary.kind, summary.application, summary.details) == ("refused", "Wiki", {"count": 700})


@pytest.mark.django_db
def test_a_process_stores_its_counts_when_it_ends() -> None:
    own = Writer()
    for number in range(310):
        own.note_refusal(refusal(number))
        own.flush()

    own.end()

    assert AuditEvent.objects.get(reason=NOT_KEPT).details == {"count": 10}


@pytest.mark.django_db
def test_failed_sign_ins_of_unknown_names_are_counted_and_those_of_users_stored() -> None:
    for _ in range(BURST + 50):
        audit.record("sign_in_failed", reason="unknown account")
    for _ in range(3):
        audit.record("sign_in_failed", subject="alice", reason="wrong password")

    assert AuditEvent.objects.filter(subject="").count() == BURST
    assert AuditEvent.objects.filter(subject="alice").count() == 3


@pytest.mark.django_db
def test_dropped_requests_leave_an_event_at_once_and_then_every_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    own = Writer()

    for _ in range(3):
        own.note_shed(CHECKS_SHED, 5)
        own.flush()
    now[0] += SHED_EVERY
    own.flush()

    counts = AuditEvent.objects.filter(kind="overloaded").order_by("pk").values_list("details", flat=True)
    assert list(counts) == [{"count": 5}, {"count": 10}]
