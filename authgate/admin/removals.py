"""The page that removes access which nobody used. It shows the affected people and asks first."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext, ngettext

from authgate.admin.audited import is_row_id, record_by
from authgate.admin.effect import EffectAdmin, Trial
from authgate.admin.effect_page import Question
from authgate.admin.explain import require_permission
from authgate.admin.finding_words import finding_words, period_of
from authgate.effect.comparison import Bounds
from authgate.explain.access import Directory
from authgate.models import Application, Rule
from authgate.usage.removals import Removal, find, removal_of, remove
from authgate.usage.requests import counted_since
from authgate.usage.tightening import GROUP_OF_RULE, PEOPLE, RULE, Finding

NEEDED = {
    RULE: ("authgate.change_application", "authgate.delete_rule"),
    GROUP_OF_RULE: ("authgate.change_application", "authgate.change_rule"),
    PEOPLE: ("authgate.change_application", "authgate.change_rule", "accounts.change_user"),
}
"""Permissions for removing each kind of finding. The same change by hand needs the same permissions."""

ROWS_SHOWN = 200
NAMES = 5
"""Groups, and users, of a rule that the page names at most."""


def may_remove(request: HttpRequest, kind: str) -> bool:
    """Return whether the requester may remove findings of a kind at all."""
    return request.user.has_perms(NEEDED[kind])


def removal_url(finding: Finding, days: int) -> str:
    page = reverse("admin:authgate_application_remove_unused", args=[finding.application.id])
    return f"{page}?kind={finding.kind}&rule={finding.rule}&group={finding.group}&days={days}"


class RemovalPage:
    """A request for the page, with an application's finding as it is now."""

    def __init__(self, model_admin: EffectAdmin, request: HttpRequest, key: int) -> None:
        require_permission(request)
        self._admin, self._request = model_admin, request
        kind = request.GET.get("kind", PEOPLE)
        row = model_admin.get_object(request, str(key)) if is_row_id(str(key)) else None
        if kind not in NEEDED or row is None:
            raise Http404
        if not may_remove(request, kind) or not model_admin.has_change_permission(request, row):
            raise PermissionDenied
        self._row: Application = row
        self._kind = kind

    def answer(self) -> HttpResponse:
        """Show what would be removed and who is affected, or remove exactly what was shown."""
        request = self._request
        days, since = period_of(request)
        back = f"{reverse('admin:authgate_application_unused')}?days={days}"
        found = find(self._row.pk, self._kind, self._number("rule"), self._number("group"), since)
        removal = removal_of(*found, self._may_change) if found else None
        if not found or not removal:
            said = gettext("There is nothing that you can remove here. It was used, or removed, meanwhile.")
            self._admin.message_user(request, said, messages.WARNING)
            return HttpResponseRedirect(back)
        finding, people = found
        lines = _lines(removal, people)
        question = Question(
            gettext("Remove unused access?"),
            rows=lines[:ROWS_SHOWN],
            more=max(0, len(lines) - ROWS_SHOWN),
            is_deletion=True,
            cancel=back,
            button=gettext("Remove"),
            lead=finding_words(finding, people, days),
            notes=[*_doubts(since), *self._notes(removal)],
        )
        bounds = Bounds(users=removal.people) if removal.people else Bounds(applications={self._row.pk})
        return self._admin._answered(
            request,
            lambda request: Trial(self._admin, request, bounds).ask(
                lambda: self._remove(removal, people, back), question
            ),
        )

    def _number(self, name: str) -> int:
        text = self._request.GET.get(name, "") or "0"
        if not is_row_id(text):
            raise Http404
        return int(text)

    def _may_change(self, user: int) -> bool:
        if self._request.user.is_superuser:
            return True
        page = admin.site.get_model_admin(get_user_model())
        found = get_user_model()._default_manager.filter(pk=user).first()
        return found is not None and page.has_change_permission(self._request, found)

    @staticmethod
    def _notes(removal: Removal) -> list[str]:
        said = []
        if removal.left:
            text = ngettext(
                "%d person is left for another time: the journal can take back 500 rows at once.",
                "%d people are left for another time: the journal can take back 500 rows at once.",
                removal.left,
            )
            said.append(text % removal.left)
        if removal.kept:
            text = ngettext(
                "%d person stays: only superusers can change this person.",
                "%d people stay: only superusers can change them.",
                removal.kept,
            )
            said.append(text % removal.kept)
        return said

    def _remove(self, removal: Removal, people: Directory, back: str) -> HttpResponse:
        rows = _lines(removal, people)
        remove(removal)
        record_by(
            self._request, "changed", self._row, [{"deleted": {"name": "access", "object": _short(rows)}}]
        )
        text = gettext("The unused access was removed. The changes in the journal can be taken back.")
        self._admin.message_user(self._request, text, messages.SUCCESS)
        return HttpResponseRedirect(back)


def _doubts(since: date) -> list[str]:
    """Return a warning if the portal's counts do not cover the whole period."""
    begun = counted_since()
    if begun is not None and begun <= since:
        return []
    return [gettext("The portal has not counted for that long. What was used before is not known.")]


def _short(rows: list[str]) -> str:
    return "; ".join(rows)[:1000]


def _lines(removal: Removal, people: Directory) -> list[str]:
    """Return a line for each row that is removed."""
    keys = {removal.rule} | {rule for rule, _other in (*removal.groups, *removal.users)}
    rules: dict[int, Any] = Rule.objects.in_bulk(keys - {0})
    if removal.rule:
        return [_rule_words(rules[removal.rule])] if removal.rule in rules else []
    said = [
        gettext("Group %(group)s in the rule %(rule)s")
        % {"group": people.groups.get(group, f"#{group}"), "rule": rules[rule].path}
        for rule, group in removal.groups
    ]
    said += [
        gettext("User %(name)s in the rule %(rule)s") % {"name": people.users[user], "rule": rules[rule].path}
        for rule, user in removal.users
    ]
    said += [
        gettext("User %(name)s in the group %(group)s")
        % {"name": people.users[user], "group": people.groups.get(group, f"#{group}")}
        for group, user in removal.memberships
    ]
    return said


def _rule_words(rule: Rule) -> str:
    """Return a rule in words, with the first of its groups and users."""
    groups, users = rule.groups.order_by("name")[:NAMES], rule.users.order_by("username")[:NAMES]
    named = ", ".join(map(str, (*groups, *users))) if rule.who == Rule.Who.CHOSEN else ""
    return gettext("Rule %(rule)s") % {"rule": f"{rule.path} → {named or rule.get_who_display()}"}
