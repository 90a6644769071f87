"""A page for each application that shows what its rules that only watch would have done to real requests."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from authgate.admin.audited import is_row_id
from authgate.admin.explain import require_permission, rule_page
from authgate.models import Application, Rule, TrialCount
from authgate.usage.trials import DIFFERENT, People, Result, results

SHOWN = 100
"""People named for each change. The others are counted."""


def trials_page(request: HttpRequest, key: int) -> HttpResponse:
    """Show what each rule of an application that only watches would have changed."""
    require_permission(request)
    application = Application.objects.filter(pk=key).first() if is_row_id(str(key)) else None
    if application is None:
        raise Http404
    found = results(application.pk)
    rules = Rule.objects.filter(pk__in=found).order_by("path", "pk")
    names = _names({person for each in found.values() for person in _most(each)})
    context = {
        **admin.site.each_context(request),
        "title": gettext("Rules on trial: %s") % application.name,
        "application": application,
        "application_page": rule_page(request, application.pk),
        "rules": [(rule, found[rule.pk], _lines(found[rule.pk], names)) for rule in rules],
        "shown": SHOWN,
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/trials.html", context)


def summary(result: Result, application: int, rule: int) -> SafeString:
    """Return the number of requests that a rule would have changed, as a link to the page."""
    said = ngettext(
        "%(different)d of %(all)d request would be decided differently",
        "%(different)d of %(all)d requests would be decided differently",
        result.compared,
    )
    url = f"{reverse('admin:authgate_application_trials', args=[application])}#rule-{rule}"
    return format_html(
        '<a href="{}">{}</a>', url, said % {"different": result.different, "all": result.compared}
    )


def _lines(result: Result, names: dict[int, str]) -> list[dict[str, Any]]:
    lines = []
    for change in DIFFERENT:
        people = result.of(change)
        if people.total:
            first = _first(people)
            named = [(names.get(person) or f"#{person}", people.requests[person]) for person in first]
            rest = len(people.requests) - len(named)
            label = TrialCount.Change(change).label
            lines.append({"label": label, "people": people, "named": named, "rest": rest})
    return lines


def _first(people: People) -> list[int]:
    """Return the people with the most requests."""
    return sorted(people.requests, key=lambda person: (-people.requests[person], person))[:SHOWN]


def _most(result: Result) -> set[int]:
    return {person for change in DIFFERENT for person in _first(result.of(change))}


def _names(people: set[int]) -> dict[int, str]:
    users = get_user_model()._default_manager.filter(pk__in=people)
    return dict(users.values_list("pk", "username"))
