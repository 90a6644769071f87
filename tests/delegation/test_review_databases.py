"""A review from its start to its deletion, in both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.access_reviews import answers, reviews, rounds
from accounts.models import AccessReview, User
from authgate.models import Application
from ikd_portal.attention.reviews import LOOKS
from ikd_portal.tidy import rounds as tidy
from tests.factories import ApplicationFactory, RuleFactory, UserFactory
from tests.feed.conftest import cluster, database, pattern, vendor  # noqa: F401

pytestmark = pytest.mark.usefixtures("database")


def a_due_wiki() -> tuple[Application, User, User]:
    olga, bob = UserFactory(username="olga"), UserFactory(username="bob", groups=["guests"])
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"])
    RuleFactory(application=wiki, who="chosen", groups=["guests"])
    wiki.owners.set([olga])
    Application.objects.filter(pk=wiki.pk).update(created_at=timezone.now() - timedelta(days=400))
    return wiki, olga, bob


def test_a_review_is_begun_answered_and_deleted(
    settings: Any,
) -> None:
    settings.IKD_REVIEW_ACCESS_DAYS = 365
    wiki, olga, bob = a_due_wiki()
    assert (rounds.go("one"), rounds.go("one"), reviews.begin(wiki)) == (1, 0, None)
    review = AccessReview.objects.get(application=wiki)
    AccessReview.objects.update(asked=[])
    assert [look() is not None for _permission, look in LOOKS] == [True, False]

    entry = review.entries.get(user=bob)
    assert answers.answer(review, {entry.pk: "remove"}, owner=olga, address=None) == (1, 1)
    assert [look() is not None for _permission, look in LOOKS] == [False, True]
    bob.groups.clear()
    assert answers.close_done_tasks() == 1

    long_ago = timezone.now() - timedelta(seconds=settings.IKD_KEEP_ACCESS_REVIEWS + 60)
    AccessReview.objects.update(began_at=long_ago, closed_at=long_ago)
    tidy.go("tests", batches=None, pause=0)
    assert not AccessReview.objects.exists()
