"""A process that has just started loads the sessions that were used last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from authgate.models import GateSession, SignIn
from authgate.sign_ins import end_sign_ins
from authgate.worker import warm_up
from authgate.worker.feed import Feed
from tests.front.serving import Cast, signed_in


def test_sessions_that_were_used_last_are_loaded(feed: Feed, people: Cast) -> None:
    left = SignIn.objects.get(user=people.bob)
    SignIn.objects.filter(pk=left.pk).update(last_seen_at=timezone.now() - timedelta(hours=1))
    ended = signed_in(people.bob)
    end_sign_ins(SignIn.objects.filter(pk=GateSession.objects.latest("pk").sign_in_id))

    kept = warm_up.load(feed)

    assert ended
    assert kept == len(feed.memory) == 1


def test_no_more_are_loaded_than_half_of_the_memory(
    feed: Feed, people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_up, "MOST", 3)
    monkeypatch.setattr(warm_up, "BATCH", 2)
    for _ in range(5):
        signed_in(people.alice)

    assert warm_up.load(feed) == 3


def test_what_changes_meanwhile_is_not_kept(
    feed: Feed, people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is read between the query and its result voids the result."""
    load = warm_up.loader.load_sessions

    def load_and_hear(keys: list[bytes]) -> dict[bytes, object]:
        found = load(keys)
        feed.memory.forget(everybody=True)
        return dict(found)

    monkeypatch.setattr(warm_up.loader, "load_sessions", load_and_hear)

    assert warm_up.load(feed) == 0
    assert len(feed.memory) == 0
