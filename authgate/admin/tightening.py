"""The admin's list of access that nobody used, with a link to each change, and as CSV."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from authgate.admin.access import safe_cell
from authgate.admin.explain import require_permission, rule_page
from authgate.admin.finding_words import DAYS, finding_words, period_of
from authgate.admin.removals import may_remove, removal_url
from authgate.explain.access import Directory, load_directory
from authgate.explain.words import scope_words
from authgate.usage.requests import counted_since, last_uses, totals_by_rule
from authgate.usage.tightening import PEOPLE, Finding, findings
from authgate.worker import loader

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Line:
    """A finding in words, with the page where an administrator can change it."""

    kind: str
    application: str
    path: str
    rule: str
    group: str
    people: int
    said: str
    url: str
    action: str
    removal: str


def tightening_page(request: HttpRequest) -> HttpResponseBase:
    """List rules, groups and people with access that was not used."""
    require_permission(request)
    days, since = period_of(request)
    people = load_directory()
    allowed = {rule: counts[0] for rule, counts in totals_by_rule(since).items()}
    uses = last_uses(since=since)
    found = findings(loader.load_applications(), people, allowed, uses, time.time())
    lines = [_line(request, each, people, days) for each in found]
    if request.GET.get("format") == "csv":
        return _csv(lines)
    begun = counted_since()
    page = Paginator(lines, PER_PAGE).get_page(request.GET.get("p"))
    context = {
        **admin.site.each_context(request),
        "title": gettext("Access that nobody used"),
        "days": days,
        "choices": DAYS,
        "since": since,
        "counted_since": begun,
        "is_short": begun is None or begun > since,
        "page": page,
        "numbers": page.paginator.get_elided_page_range(page.number),
        "count": len(lines),
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/tightening.html", context)


def _line(request: HttpRequest, found: Finding, people: Directory, days: int) -> Line:
    application, path = found.application, scope_words(found.scope) if found.scope else ""
    group = people.groups.get(found.group, f"#{found.group}") if found.group else ""
    url, action = rule_page(request, application.id), gettext("Change the rules")
    if found.kind == PEOPLE:
        url = f"{reverse('admin:authgate_application_access', args=[application.id])}?unused=1"
        action = gettext("Show the people")
    elif url:
        url += "#rules-group"
    return Line(
        found.kind,
        application.name,
        path,
        str(found.rule or ""),
        group,
        len(found.people),
        finding_words(found, people, days),
        url,
        action,
        removal_url(found, days) if may_remove(request, found.kind) else "",
    )


HEAD = ("kind", "application", "path", "rule", "group", "people", "finding")


def _csv(lines: list[Line]) -> StreamingHttpResponse:
    """Return the list as CSV (RFC 4180). No spreadsheet reads a cell as a formula."""
    response = StreamingHttpResponse(_rows(lines), content_type="text/csv; charset=utf-8")
    name = f"unused-access-{timezone.localdate():%Y-%m-%d}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _rows(lines: list[Line]) -> Iterator[str]:
    yield _row(HEAD)
    for line in lines:
        texts = (line.kind, line.application, line.path, line.rule, line.group, str(line.people), line.said)
        yield _row(tuple(map(safe_cell, texts)))


def _row(cells: tuple[str, ...]) -> str:
    part = io.StringIO()
    csv.writer(part).writerow(cells)
    return part.getvalue()
