"""The access lists: who can open an application and what a person can open, with a filter, and as CSV."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext

from authgate.admin.audited import is_row_id
from authgate.admin.explain import require_permission, rule_page
from authgate.decision.rules import Application, Rule, Scope
from authgate.explain.access import (
    DIRECT,
    EVERYONE,
    SIGNED_IN,
    Directory,
    Reason,
    everybody,
    is_public,
    needs_factor,
    openers,
    openings,
    scopes_of,
)
from authgate.explain.past import Past, moment_from
from authgate.explain.words import scope_words, unknown_moment_words
from authgate.explain.worlds import PRESENT, World
from authgate.journal.gaps import UnknownMoment
from authgate.memberships import with_end
from authgate.usage.requests import counted_since, last_uses

PER_PAGE = 50

LastUses = Mapping[tuple[int, int, int], date]


@dataclass(frozen=True, slots=True)
class Opening:
    """A line of a list: a person, a path scope of an application, and why the person can open it."""

    user: int
    username: str
    name: str
    application: Application
    scope: Scope
    said: str
    last: date | None = None
    """The last day on which a rule of the scope admitted the person."""

    @property
    def path(self) -> str:
        return scope_words(self.scope)

    @property
    def text(self) -> str:
        parts = (self.username, self.name, self.application.name, self.path, self.said)
        return "\n".join(parts).casefold()


class Wording:
    """Texts for the reasons why people can open scopes. They are cached: many people share reasons."""

    def __init__(self, people: Directory, uses: LastUses) -> None:
        self._people, self._uses = people, uses
        self._said: dict[tuple[Reason, ...], str] = {}

    def opening(self, user: int, application: Application, scope: Scope, reasons: list[Reason]) -> Opening:
        key = tuple(reasons)
        said = self._said.get(key)
        if said is None:
            rules = {rule.id: rule for rule in scope.rules}
            words = (_words(reason, rules[reason.rule], self._people) for reason in reasons)
            said = self._said[key] = "; ".join(dict.fromkeys(words))
        days = [self._uses.get((application.id, user, rule.id)) for rule in scope.rules]
        last = max((day for day in days if day is not None), default=None)
        names = self._people
        return Opening(user, names.users[user], names.names[user], application, scope, said, last)


def _words(reason: Reason, rule: Rule, people: Directory) -> str:
    if reason.kind == EVERYONE:
        said = gettext("everyone")
    elif reason.kind == SIGNED_IN:
        said = gettext("any signed-in user")
    elif reason.kind == DIRECT:
        said = gettext("named in the rule")
    else:
        said = gettext("group %s") % with_end(people.groups.get(reason.group or 0, "?"), reason.until)
    limits = _limits(rule)
    return f"{said} ({', '.join(limits)})" if limits else said


def _limits(rule: Rule) -> list[str]:
    """Return the conditions under which a rule admits, in words."""
    found = []
    if rule.methods is not None:
        found.append(" ".join(sorted(rule.methods)))
    if rule.networks is not None:
        found.append(gettext("from %s") % " ".join(rule.networks))
    if needs_factor(rule):
        found.append(gettext("with a second factor"))
    if rule.expires_at is not None:
        found.append(gettext("for a limited time"))
    return found


# ---- moments ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestedMoment:
    """The time for which a list is requested. If `text` is no known time: the present, and a `fault`."""

    world: World
    text: str = ""
    fault: str = ""

    @property
    def unix(self) -> float:
        return self.world.at.timestamp() if self.world.at else time.time()

    @property
    def context(self) -> dict[str, Any]:
        """Return the template's variables for the time."""
        return {"at": self.world.at, "at_text": self.text, "at_fault": self.fault}


def requested_moment(request: HttpRequest) -> RequestedMoment:
    text = request.GET.get("at", "").strip()[:40]
    if not text:
        return RequestedMoment(PRESENT)
    try:
        return RequestedMoment(Past(moment_from(text)), text)
    except UnknownMoment as problem:
        return RequestedMoment(PRESENT, text, unknown_moment_words(problem))
    except (ValueError, OverflowError):
        return RequestedMoment(PRESENT, text, gettext("Enter a moment such as 2026-03-03 09:00."))


# ---- pages ------------------------------------------------------------------------------------------------


def application_page(request: HttpRequest, key: int) -> HttpResponseBase:
    """List the people who can open an application, by path."""
    require_permission(request)
    asked = requested_moment(request)
    application = _application(key, asked.world)
    people, now = asked.world.directory(), asked.unix
    wording = Wording(people, {} if asked.world.at else last_uses(application=key))
    found = [
        wording.opening(user, application, scope, reasons)
        for scope in scopes_of(application)
        for user, reasons in _by_name(openers(application, scope, people, now), people)
    ]
    context = {
        "title": gettext("Who can open %s") % application.name,
        "application": application,
        "application_page": rule_page(request, application.id),
        "explain": f"{reverse('admin:authgate_application_explain')}?application={application.id}",
        "scopes": [
            (
                scope_words(scope),
                is_public(application, scope, now),
                sum(each.scope is scope for each in found),
            )
            for scope in scopes_of(application)
        ],
    }
    return _list(request, found, context | asked.context, f"access-{application.id}.csv")


def user_page(request: HttpRequest, key: int) -> HttpResponseBase:
    """List the paths that a person can open, by application."""
    require_permission(request)
    asked = requested_moment(request)
    users = get_user_model()._default_manager
    person = users.filter(pk=key).first() if is_row_id(str(key)) else None
    name = asked.world.username_of(key) if is_row_id(str(key)) else None
    if name is None:
        raise Http404
    people = asked.world.directory()
    applications = [application for application, _ in asked.world.applications()]
    wording = Wording(people, {} if asked.world.at else last_uses(person=key))
    found = [
        wording.opening(key, application, scope, reasons)
        for application, scope, reasons in openings(key, people, asked.unix, applications)
    ]
    context = {
        "title": gettext("What %s can open") % name,
        "person": person,
        "explain": f"{reverse('admin:authgate_application_explain')}?user={key}",
    }
    return _list(request, found, context | asked.context, f"access-of-{key}.csv")


def everything(request: HttpRequest) -> HttpResponseBase:
    """Send a CSV file with the access of all users to all applications."""
    require_permission(request)
    asked = requested_moment(request)
    if asked.fault:
        return HttpResponseBadRequest(asked.fault, content_type="text/plain; charset=utf-8")
    people = asked.world.directory()
    applications = [application for application, _ in asked.world.applications()]
    wording = Wording(people, {} if asked.world.at else last_uses())
    found = (
        wording.opening(user, application, scope, reasons)
        for application, scope, user, reasons in everybody(applications, people, asked.unix)
    )
    return as_csv(found, "access.csv")


def _application(key: int, world: World) -> Application:
    compiled = world.applications({key}) if is_row_id(str(key)) else []
    if not compiled:
        raise Http404
    return compiled[0][0]


def _by_name(found: dict[int, list[Reason]], people: Directory) -> Iterator[tuple[int, list[Reason]]]:
    """Yield users by name, which is the directory's order."""
    return ((user, found[user]) for user in people.users if user in found)


def _list(request: HttpRequest, found: list[Opening], context: dict[str, Any], name: str) -> HttpResponseBase:
    if context["at_fault"]:  # do not show the present for a time that is not known
        found, context["scopes"] = [], []
    words = request.GET.get("q", "")[:200].casefold().split()
    is_unused = request.GET.get("unused") == "1"
    if is_unused:
        found = _unused(found)
    chosen = [each for each in found if all(word in each.text for word in words)] if words else found
    if request.GET.get("format") == "csv" and not context["at_fault"]:
        return as_csv(chosen, name)
    user_model = get_user_model()._meta
    may_see_users = request.user.has_perm(f"{user_model.app_label}.view_{user_model.model_name}")
    page = Paginator(chosen, PER_PAGE).get_page(request.GET.get("p"))
    context |= {
        **admin.site.each_context(request),
        "page": page,
        "q": request.GET.get("q", "")[:200],
        "count": len(chosen),
        "may_see_users": may_see_users,
        "counted_since": counted_since(),
        "is_unused": is_unused,
        "numbers": page.paginator.get_elided_page_range(page.number),
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/access.html", context)


def _unused(found: list[Opening]) -> list[Opening]:
    """Return the lines of people who opened no path of the application."""
    used = {(each.user, each.application.id) for each in found if each.last is not None}
    return [each for each in found if (each.user, each.application.id) not in used]


# ---- CSV --------------------------------------------------------------------------------------------------

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters at a cell's start that can make a spreadsheet read it as a formula (OWASP, CSV injection)."""


@lru_cache(maxsize=65_536)
def safe_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet reads as a formula."""
    return f"'{text}" if text.lstrip(" \u00a0").startswith(FORMULA) else text


ROWS_AT_ONCE = 500


def as_csv(found: Iterable[Opening], name: str) -> StreamingHttpResponse:
    """Return a list as CSV (RFC 4180). Names that begin like formulas get an apostrophe."""
    response = StreamingHttpResponse(_parts(iter(found)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _parts(found: Iterator[Opening]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [
        ("application", "path", "exact", "username", "name", "reason", "last used")
    ]
    while rows:
        part = io.StringIO()
        csv.writer(part).writerows(rows)
        yield part.getvalue()
        rows = [_cells(each) for each in islice(found, ROWS_AT_ONCE)]


def _cells(each: Opening) -> tuple[str, ...]:
    exact = "yes" if each.scope.exact else "no"
    last = each.last.isoformat() if each.last else ""
    texts = (each.application.name, each.scope.path, exact, each.username, each.name, each.said, last)
    return tuple(map(safe_cell, texts))
