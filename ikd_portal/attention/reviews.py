"""Access reviews that need attention: overdue answers, and removals that administrators have to make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.access_reviews.answers import open_tasks
from accounts.models import AccessReview
from ikd_portal.attention.matter import NAMED, Matter, named

OVERDUE_AFTER = timedelta(days=30)


def _overdue() -> Matter | None:
    late = Q(began_at__lt=timezone.now() - OVERDUE_AFTER) | Q(asked=[])
    found = AccessReview.objects.filter(late, closed_at=None, application__isnull=False)
    names = list(found.order_by("began_at").values_list("name", flat=True)[: NAMED + 1])
    if not names:
        return None
    advice = _(
        "People without an answer after 30 days, or without an owner to ask: %s. Superusers can answer "
        "instead of owners."
    )
    url = reverse("admin:accounts_accessreview_changelist") + "?closed_at__isempty=1"
    return Matter(_("Access reviews that are overdue"), advice % named(names), url)


def _tasks() -> Matter | None:
    entries = list(open_tasks().select_related("review")[: NAMED + 1])
    if not entries:
        return None
    advice = _(
        "Owners decided to remove access that they cannot remove themselves: %s. The list links to the users "
        "and rules."
    )
    names = [f"{entry.username} ({entry.review.name})" for entry in entries]
    url = reverse("admin:accounts_accessreviewentry_changelist") + "?task_open__exact=1"
    return Matter(_("Access to remove"), advice % named(names), url, is_serious=True)


LOOKS: tuple[tuple[str, Callable[[], Matter | None]], ...] = (
    ("accounts.view_accessreview", _overdue),
    ("accounts.view_accessreviewentry", _tasks),
)
"""Pairs: the permission to see a matter, and the function that looks for it."""
