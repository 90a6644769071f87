"""Answers in a review. "Remove" removes what an owner can remove. The rest is a task for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.access_reviews import current
from accounts.access_reviews.reviews import may_answer
from accounts.delegation import applications, groups
from accounts.models import AccessReview, AccessReviewEntry, User
from authgate.audit import record
from authgate.explain.access import DIRECT, GROUP, load_directory
from authgate.models import Application, Rule
from authgate.prepared import PreparedLookup

TASKS_LIMIT = 2_000
"""Open tasks that one round checks."""


def answerable(review: AccessReview, owner: User) -> QuerySet[AccessReviewEntry]:
    """Return the entries that a user may answer. Users may not answer about themselves."""
    return review.entries.exclude(user=owner.pk)


@transaction.atomic
def answer(
    review: AccessReview, answers: Mapping[int, str], *, owner: User, address: str | None
) -> tuple[int, int]:
    """Save answers by id of the entry. Return how many were saved, and how many became tasks.

    Leave out entries that already have an answer. Raises Application.DoesNotExist if the user may no longer
    answer. Raises AccessReviewEntry.DoesNotExist if the user may not answer one of the entries.
    """
    application = Application.objects.select_for_update().get(pk=review.application_id or 0)
    if not may_answer(owner, application):
        raise Application.DoesNotExist
    entries = list(answerable(review, owner).filter(pk__in=answers).select_related("user"))
    if len(entries) != len(answers):
        raise AccessReviewEntry.DoesNotExist
    saved = tasks = 0
    for entry in entries:
        given = {"answer": answers[entry.pk], "answered_at": timezone.now(), "answered_by": owner.username}
        if AccessReviewEntry.objects.filter(pk=entry.pk, answer="").update(**given):
            saved += 1
            tasks += _carry_out(application, entry, answers[entry.pk], owner, address)
    if not review.entries.filter(answer="").exists():
        AccessReview.objects.filter(pk=review.pk, closed_at=None).update(closed_at=timezone.now())
    return saved, tasks


def _carry_out(
    application: Application, entry: AccessReviewEntry, chosen: str, owner: User, address: str | None
) -> bool:
    """Keep or remove the access, and record the answer. Return whether a task remains."""
    details: dict[str, object] = {"review": entry.review_id}
    remaining: list[current.Values] = []
    if chosen == AccessReviewEntry.Answer.REMOVE and entry.user is not None:
        remaining = remove_access(application, entry.user, owner=owner, address=address)
        details["remaining"] = remaining
        AccessReviewEntry.objects.filter(pk=entry.pk).update(remaining=remaining, task_open=bool(remaining))
    record(
        "access_kept" if chosen == AccessReviewEntry.Answer.KEEP else "access_removed",
        actor=owner.username,
        subject=entry.username,
        application=application.name,
        address=address,
        details=details,
    )
    return bool(remaining)


def remove_access(
    application: Application, user: User, *, owner: User, address: str | None
) -> list[current.Values]:
    """Remove a user from rules that name them, and from groups that the owner manages.

    Return the reasons for access that remain.
    """
    people = current.directory_of(user)
    found = current.reasons_of(current.compiled(application.pk), people).get(user.pk, [])
    for rule in Rule.objects.filter(pk__in={why.rule for _scope, why in found if why.kind == DIRECT}):
        with suppress(ValidationError, ObjectDoesNotExist):
            applications.remove(rule, "user", user.pk, owner=owner, address=address)
    for group in Group.objects.filter(pk__in={why.group for _scope, why in found if why.kind == GROUP}):
        with suppress(ValidationError, ObjectDoesNotExist):
            groups.remove_member(group, user.pk, manager=owner, address=address)
    people = current.directory_of(user)
    left = current.reasons_of(current.compiled(application.pk), people).get(user.pk, [])
    return current.as_values(left, people)


# ---- tasks of administrators ------------------------------------------------------------------------------


def open_tasks() -> QuerySet[AccessReviewEntry]:
    return AccessReviewEntry.objects.filter(task_open=True).order_by("answered_at", "pk")


def has_open_tasks() -> bool:
    return bool(_FIRST_OPEN_TASK.rows())


def _first_open_task() -> QuerySet[AccessReviewEntry, Any]:
    return open_tasks().values_list("pk")[:1]


_FIRST_OPEN_TASK = PreparedLookup(_first_open_task)


def close_task(entry: AccessReviewEntry, *, by: str = "", address: str | None = None) -> bool:
    """Close a task. Return False if it was already closed. `by` is empty if the access has ended."""
    with transaction.atomic():
        closed = AccessReviewEntry.objects.filter(pk=entry.pk, task_open=True).update(
            task_open=False, task_closed_at=timezone.now(), task_closed_by=by
        )
        if closed:
            record(
                "access_task_closed",
                actor=by,
                subject=entry.username,
                application=entry.review.name,
                address=address,
                details={"review": entry.review_id},
            )
    return bool(closed)


def close_done_tasks() -> int:
    """Close the tasks of users who can no longer open the application. Return their number."""
    by_application: dict[int | None, list[AccessReviewEntry]] = {}
    for entry in open_tasks().select_related("review", "user")[:TASKS_LIMIT]:
        by_application.setdefault(entry.review.application_id, []).append(entry)
    return sum(map(_close_done_of, by_application, by_application.values()))


def _close_done_of(key: int | None, entries: list[AccessReviewEntry]) -> int:
    people = load_directory({entry.user_id for entry in entries if entry.user_id})
    found = {} if key is None else current.reasons_of(current.compiled(key), people)
    # A disabled user would have the access again when enabled, so their task stays open.
    done = [
        entry
        for entry in entries
        if key is None or entry.user is None or (entry.user.is_active and entry.user_id not in found)
    ]
    return sum(map(close_task, done))
