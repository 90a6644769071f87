"""Old entries are deleted, except those from which later moments are rebuilt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone

from authgate.journal import gaps, retention, triggers
from authgate.models import JournalEntry, JournalGap
from tests.front.serving import Cast


def renamed(group: Group, name: str) -> None:
    group.name = name
    group.save()


def ids(group: Group) -> list[int]:
    return list(
        JournalEntry.objects.filter(table_name="auth_group", key=group.pk)
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def all_of_it(before: timedelta = timedelta(seconds=-1)) -> int:
    done = 0
    while deleted := retention.delete(timezone.now() - before, 2):
        done += deleted
    return done


def test_the_newest_entry_of_each_row_stays(people: Cast) -> None:
    group = Group.objects.create(name="one")
    renamed(group, "two")
    renamed(group, "three")
    newest = ids(group)[-1]

    assert all_of_it() >= 2

    assert ids(group) == [newest]
    assert JournalGap.objects.get().reason == "retention"


def test_entries_of_a_deleted_row_are_all_deleted(people: Cast) -> None:
    group = Group.objects.create(name="one")
    renamed(group, "two")
    key = group.pk
    group.delete()

    while retention.delete(timezone.now() + timedelta(seconds=1), 1):
        left = JournalEntry.objects.filter(table_name="auth_group", key=key).order_by("-pk").first()
        assert left is None or left.after is None

    assert not JournalEntry.objects.filter(table_name="auth_group", key=key).exists()


def test_recent_entries_stay(people: Cast) -> None:
    group = Group.objects.create(name="one")
    renamed(group, "two")

    assert all_of_it(timedelta(hours=1)) == 0
    assert len(ids(group)) == 2


def test_moments_before_what_was_deleted_are_unknown(people: Cast) -> None:
    group = Group.objects.create(name="one")
    renamed(group, "two")
    before = timezone.now()
    gaps.require_known(before)
    retention.delete(timezone.now() + timedelta(microseconds=1), 100)

    with pytest.raises(gaps.UnknownMoment) as caught:
        gaps.require_known(before)

    assert caught.value.reason == "retention"
    gaps.require_known(timezone.now())


def test_entries_are_still_protected_after_retention(people: Cast) -> None:
    all_of_it()

    assert triggers.missing() == set()
    with connection.cursor() as cursor, pytest.raises(Exception, match="cannot be"):
        cursor.execute("DELETE FROM authgate_journalentry")
