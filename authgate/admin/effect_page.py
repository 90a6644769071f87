"""The page that shows the effect of a change on access before it is saved, also as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from authgate.admin import carried_form
from authgate.admin.access import safe_cell
from authgate.admin.carried_form import Answer
from authgate.effect.real_requests import real_requests
from authgate.effect.values import EVERY_APPLICATION, Difference, Effect, Person, people_of
from authgate.explain.words import path_words

if TYPE_CHECKING:
    from authgate.admin.audited import AuditedAdmin

NAMES_OF_FIELDS = {
    "carried": carried_form.FIELD,
    "sure": carried_form.SURE,
    "as_csv": carried_form.AS_CSV,
    "edit": carried_form.EDIT,
}

NAMES = 12
"""People named in a line of the page. The CSV file contains all."""

LINES = 100
"""Lines of the page in each of its parts."""


def may_see_people(request: HttpRequest) -> bool:
    """Return whether the requester may see who can open what. Others see numbers only."""
    users = get_user_model()._meta
    needed = (f"{users.app_label}.view_{users.model_name}", "authgate.view_application")
    return request.user.has_perm("authgate.explain_access") or request.user.has_perms(needed)


def needs_a_tick(effect: Effect) -> bool:
    """Return whether confirming needs a checkbox: many people, or an application that becomes public."""
    opens = any(each.visitors for each in effect.gained)
    return opens or effect.people >= settings.IKD_CONFIRM_PEOPLE


def is_confirmed(effect: Effect, answer: Answer) -> bool:
    """Return whether a change may stay: it affects nobody, or the requester confirmed this very effect."""
    if not effect:
        return True
    if answer.shown != effect.digest or answer.wants_csv:
        return False
    return answer.is_sure or not needs_a_tick(effect)


def problem_of(effect: Effect, answer: Answer) -> str:
    """Return the reason why a page is shown again, or an empty string."""
    if answer.shown and answer.shown != effect.digest:
        return _("The effect is different from the one that you saw. Check it again.")
    if answer.shown and not answer.wants_csv:
        return _("Nothing was saved. Tick the box to confirm.")
    return ""


@dataclass(frozen=True, slots=True)
class Line:
    difference: Difference

    @property
    def path(self) -> str:
        return path_words(self.difference.path, self.difference.exact)

    @property
    def names(self) -> Sequence[Person]:
        return self.difference.people[:NAMES]

    @property
    def count(self) -> int:
        return len(self.difference.people)

    @property
    def others(self) -> int:
        return max(0, self.count - NAMES)


@dataclass(frozen=True, slots=True)
class Part:
    """People who gain access, who lose it, or who keep it under other conditions."""

    title: str
    differences: tuple[Difference, ...]

    @property
    def people(self) -> int:
        return len(people_of(self.differences))

    @property
    def visitors(self) -> bool:
        return any(each.visitors for each in self.differences)

    @property
    def applications(self) -> int:
        """The number of applications; 0 if all are affected."""
        return len({each.application for each in self.differences} - {EVERY_APPLICATION})

    @property
    def lines(self) -> list[Line]:
        return [Line(each) for each in self.differences[:LINES]]

    @property
    def more(self) -> int:
        return max(0, len(self.differences) - LINES)


def parts_of(effect: Effect) -> list[Part]:
    """Return the parts of a page about an effect, with their titles."""
    parts = (
        Part(_("Lose access"), effect.lost),
        Part(_("Gain access"), effect.gained),
        Part(_("Keep access under other conditions"), effect.changed),
        Part(_("See the maintenance page"), effect.closed),
        Part(_("Get in again after maintenance"), effect.reopened),
        Part(_("Need a second factor for every application"), effect.stricter),
        Part(_("No longer need a second factor for every application"), effect.looser),
    )
    return [part for part in parts if part.differences]


@dataclass(frozen=True, slots=True)
class Question:
    """The question of a page that also shows an effect: a title, and the rows that the change concerns.

    `rows` may be nested, and `counts` are numbers of rows by kind. `more` is the number of rows that are not
    listed. `cancel` is the page to return to without the change; if empty, the page that asks. `lead` is a
    sentence before the effect, and `notes` are warnings. `template` and `context` are set if the page has its
    own template.
    """

    title: str = ""
    rows: Sequence[Any] = ()
    counts: Sequence[tuple[str, int]] = ()
    more: int = 0
    is_deletion: bool = False
    cancel: str = ""
    button: str = ""
    lead: str = ""
    notes: Sequence[str] = ()
    template: str = "admin/effect.html"
    context: Mapping[str, Any] = field(default_factory=dict)


def question_of(response: HttpResponse) -> Question | None:
    """Return the question of an admin page, so that the effect page can ask it too.

    Return None if the page asks nothing, or if it forbids the change.
    """
    context = getattr(response, "context_data", None)
    if not isinstance(response, TemplateResponse) or context is None:
        return None
    if context.get("perms_lacking") or context.get("protected"):
        return None
    counts = tuple(context.get("model_count", ()))
    if "object" in context and "deleted_objects" in context:
        row = context["object"]
        title = _("Delete %(name)s?") % {"name": row}
        back = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
        rows = context["deleted_objects"]
        return Question(title, rows, counts, is_deletion=True, cancel=back, button=_("Confirm and delete"))
    if "deletable_objects" in context:
        rows = [row for some in context["deletable_objects"] for row in some]
        title = _("Delete the selected objects?")
        return Question(title, rows, counts, is_deletion=True, button=_("Confirm and delete"))
    if "objects" not in context:
        return None
    rows = list(map(str, context["objects"]))
    return Question(str(context.get("title", "")), rows, more=context["count"] - len(rows))


def effect_page(
    model_admin: AuditedAdmin,
    request: HttpRequest,
    effect: Effect,
    *,
    question: Question,
    problem: str,
    is_form: bool,
) -> HttpResponse:
    """Return the page that shows an effect, with the form that confirms it.

    If a form made the change (`is_form`), the page has a button back to that form.
    """
    parts, names_people = parts_of(effect), may_see_people(request)
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "title": question.title or _("Check who is affected"),
        "question": question,
        "opts": model_admin.opts,
        "problem": problem,
        "effect": effect,
        "parts": parts,
        "detailed": parts if names_people or request.user.has_perm("authgate.view_application") else (),
        "may_see_people": names_people,
        "names": NAMES_OF_FIELDS,
        "is_form": is_form,
        "needs_a_tick": needs_a_tick(effect),
        "real": real_requests(effect) if names_people else None,
        "carried": carried_form.seal(request, effect.digest),
        "files": list(request.FILES.items()),
        "is_popup": "_popup" in request.POST or "_popup" in request.GET,
        **question.context,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, question.template, context)


def as_csv(effect: Effect) -> HttpResponse:
    """Return an effect as CSV (RFC 4180), with a line for each person and path."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="effect.csv"'
    writer = csv.writer(response)
    writer.writerow(("change", "application", "path", "exact", "origin", "username", "name"))
    for part in fields(effect):
        for each in getattr(effect, part.name):
            writer.writerows(tuple(map(safe_cell, (part.name, *row))) for row in _rows(each))
    return response


def _rows(each: Difference) -> Iterator[tuple[str, ...]]:
    where = (each.name, each.path, "yes" if each.exact else "no", each.origin)
    if each.visitors:
        yield (*where, "", "visitors who are not signed in")
    yield from ((*where, person.username, person.name) for person in each.people)
