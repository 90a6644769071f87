"""Texts for findings of unused access, and the period for which a page lists them."""

from __future__ import annotations

from datetime import date, timedelta

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from authgate.explain.access import Directory
from authgate.explain.words import scope_words
from authgate.usage.requests import first_kept_day
from authgate.usage.tightening import GROUP_OF_RULE, RULE, Finding

DAYS = (30, 60, 90)


def period_of(request: HttpRequest) -> tuple[int, date]:
    """Return the list's period in days, and its first day."""
    given = request.GET.get("days", "")
    days = next((days for days in DAYS if str(days) == given), DAYS[-1])
    return days, max(timezone.localdate() - timedelta(days=days), first_kept_day())


def finding_words(found: Finding, people: Directory, days: int) -> str:
    """Return a finding as a sentence."""
    path = scope_words(found.scope) if found.scope else ""
    group = people.groups.get(found.group, f"#{found.group}") if found.group else ""
    names = {"application": found.application.name, "path": path, "group": group, "days": days}
    if found.kind == RULE:
        said = gettext("A rule for %(path)s of %(application)s admitted nobody for %(days)d days.")
    elif found.kind == GROUP_OF_RULE:
        said = gettext("No member of %(group)s used %(path)s of %(application)s for %(days)d days.")
    else:
        names["number"] = len(found.people)
        said = ngettext(
            "%(number)d person whom rules name did not open %(application)s for %(days)d days.",
            "%(number)d people whom rules name did not open %(application)s for %(days)d days.",
            len(found.people),
        )
    return said % names
