"""Figures on the first page: live sessions, and the slowest identity provider."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from accounts.models import Upstream
from authgate.models import AuditEvent
from authgate.sign_ins import live_sign_ins, without_idle

MOST_COUNTED = 10_000
MAX_CHECKED = 500
"""Sign-ins that are read at most, newest first, for the response times of providers."""

LATELY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: what it counts, its value, a note, and the URL of a page with more."""

    title: str
    value: str
    note: str
    url: str


def figures_for(request: HttpRequest) -> list[Figure]:
    """Return the figures that this administrator may see. Four queries at most."""
    found = [
        _live_sessions() if request.user.has_perm("authgate.view_signin") else None,
        _slowest_provider() if request.user.has_perm("accounts.view_upstream") else None,
    ]
    return [figure for figure in found if figure is not None]


def _live_sessions() -> Figure:
    live = without_idle(live_sign_ins()).order_by()
    count = live.values("pk")[: MOST_COUNTED + 1].count()
    value = number_format(min(count, MOST_COUNTED), force_grouping=True)
    return Figure(
        _("Live sessions"),
        f"> {value}" if count > MOST_COUNTED else value,
        _("Sign-ins that have neither ended nor been idle for too long."),
        f"{reverse('admin:authgate_signin_changelist')}?ended_at__isempty=1",
    )


def _slowest_provider() -> Figure | None:
    """Return the slowest provider, by the median time of its part in recent sign-ins."""
    recent = AuditEvent.objects.filter(kind="sign_in", at__gte=timezone.now() - LATELY).order_by("-at")
    times: dict[str, list[float]] = defaultdict(list)
    for details in recent.values_list("details", flat=True)[:MAX_CHECKED]:
        slug, took = _time_in(details)
        if slug:
            times[slug].append(took)
    if not times:
        return None
    slowest = max(times, key=lambda slug: median(times[slug]))
    provider = Upstream.objects.filter(slug=slowest).only("pk", "name").first()
    if provider is None:
        return None
    seconds = number_format(median(times[slowest]), decimal_pos=1)
    return Figure(
        _("Slowest identity provider"),
        _("%(seconds)s s") % {"seconds": seconds},
        _("%(name)s: median time that it takes in a sign-in, of the last 7 days.") % {"name": provider.name},
        reverse("admin:accounts_upstream_change", args=[provider.pk]),
    )


def _time_in(details: Any) -> tuple[str, float]:
    """Return the provider of a sign-in and its time in seconds. The name is "" without a provider."""
    found = details.get("provider_seconds") if isinstance(details, dict) else None
    slug = details.get("upstream") if isinstance(details, dict) else None
    if not isinstance(found, int | float) or isinstance(found, bool) or not isinstance(slug, str):
        return "", 0.0
    return slug, float(found)
