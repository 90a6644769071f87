"""Reviews: when they begin, which people they include, and who may answer."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts import mails
from accounts.access_requests.requests import owners_of
from accounts.access_reviews import current
from accounts.models import AccessReview, AccessReviewEntry, User
from authgate.audit import record
from authgate.explain import access
from authgate.models import Application
from authgate.usage.requests import last_uses

PEOPLE_LIMIT = 2_000
"""People in one review. The review only counts further people."""

ROWS_AT_ONCE = 200


def due() -> QuerySet[Application]:
    """Return the enabled applications that need a review, because the last one or their creation is long ago.

    An application with an open review is not due.
    """
    days = settings.IKD_REVIEW_ACCESS_DAYS
    if not days:
        return Application.objects.none()
    since = timezone.now() - timedelta(days=days)
    reviews = AccessReview.objects.filter(Q(began_at__gte=since) | Q(closed_at=None))
    has_recent = Exists(reviews.filter(application=OuterRef("pk")))
    return Application.objects.filter(~has_recent, enabled=True, created_at__lt=since).order_by("pk")


def begin(application: Application, *, by: str = "", address: str | None = None) -> AccessReview | None:
    """Begin a review, and notify the owners. Return None if one is open.

    `by` is the administrator who began it, or empty.
    """
    entries = _entries(application.pk)
    review = _create(application, entries, by=by, address=address)
    if review is not None:
        _notify_owners(review, application)
    return review


def may_answer(user: User, application: Application) -> bool:
    """Return whether a user may answer now. Superusers and owners may."""
    is_superuser = User.objects.filter(pk=user.pk, is_active=True, is_superuser=True).exists()
    return is_superuser or owners_of(application).filter(pk=user.pk).exists()


def finished_reviews(before: datetime) -> QuerySet[AccessReview]:
    """Return the reviews to delete: completed before a moment, or older and without an application.

    Leave out reviews with an open task, and recent reviews, which say when the next one is due.
    """
    last = timezone.now() - timedelta(days=settings.IKD_REVIEW_ACCESS_DAYS)
    ended = Q(closed_at__lt=before) | Q(application=None, began_at__lt=before)
    tasks = AccessReviewEntry.objects.filter(review=OuterRef("pk"), task_open=True)
    return AccessReview.objects.filter(ended, ~Exists(tasks), began_at__lt=last)


def _entries(key: int) -> list[AccessReviewEntry]:
    people = access.load_directory()
    used: dict[int, date] = {}
    for (_application, person, _rule), day in last_uses(application=key).items():
        used[person] = max(day, used.get(person, day))
    found = [
        AccessReviewEntry(
            user_id=user,
            username=people.users[user],
            reasons=current.as_values(reasons, people),
            last_use=used.get(user),
        )
        for user, reasons in current.reasons_of(current.compiled(key), people).items()
    ]
    return sorted(found, key=lambda entry: entry.username.casefold())


@transaction.atomic
def _create(
    application: Application, entries: list[AccessReviewEntry], *, by: str, address: str | None
) -> AccessReview | None:
    locked = Application.objects.select_for_update().filter(pk=application.pk).first()
    if locked is None or AccessReview.objects.filter(application=locked, closed_at=None).exists():
        return None
    # A user may have been deleted since the entries were collected.
    there = set(User.objects.values_list("pk", flat=True))
    kept = [entry for entry in entries if entry.user_id in there]
    now, reviewed = timezone.now(), kept[:PEOPLE_LIMIT]
    review = AccessReview.objects.create(
        application=locked,
        name=locked.name,
        began_at=now,
        begun_by=by,
        asked=[user.username for user in owners_of(locked).order_by("username")],
        people=len(reviewed),
        left_out=len(kept) - len(reviewed),
        closed_at=None if reviewed else now,
    )
    for entry in reviewed:
        entry.review = review
    AccessReviewEntry.objects.bulk_create(reviewed, batch_size=ROWS_AT_ONCE)
    details = {"review": review.pk, "people": review.people, "left_out": review.left_out}
    record("access_review_begun", actor=by, application=locked.name, address=address, details=details)
    return review


def _notify_owners(review: AccessReview, application: Application) -> None:
    if review.closed_at is not None:
        return
    path = reverse("access_review", args=[review.pk])
    for owner in owners_of(application):
        if owner.email:
            facts = {"application": review.name}
            mails.queue(mails.send, "access_review", owner.email, facts, path, language=owner.language)
