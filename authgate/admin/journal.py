"""The admin's pages of the journal: the list, the page of a change, and its undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from authgate.admin.audited import ReadOnlyAdmin, is_row_id
from authgate.admin.effect import EffectAdmin, Trial
from authgate.admin.effect_page import Question
from authgate.admin.list_columns import cut
from authgate.admin.undo_permissions import refusals, with_allowed_rights
from authgate.audit import record
from authgate.effect.comparison import EVERYTHING
from authgate.journal import undo
from authgate.journal.undo import CannotUndo, Step, change_of, lock, steps_for, take_back
from authgate.journal.words import (
    LABELS,
    Names,
    actor_words,
    columns_of,
    label_of_column,
    names_for,
    value_words,
    verb_of,
)
from authgate.models import Application, JournalEntry
from authgate.peer import client_address

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

MOST_SHOWN = 100
"""Rows of a change that its page shows at most."""

MOST_FOUND = 500
"""Objects, at most, for which one search finds changes."""


class TableFilter(admin.SimpleListFilter):
    """A filter by the kind of object that was changed."""

    title = _("object")
    parameter_name = "table_name__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(table, str(label)) for table, label in LABELS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(table_name=self.value()) if self.value() else queryset


class JournalList(ChangeList):
    """A page of the journal with the names of the objects in its rows."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        names = names_for(self.result_list)
        for entry in self.result_list:
            entry.names = names


class Named(TypedDict):
    """What `JournalList` sets on each row."""

    names: Names


@admin.register(JournalEntry)
class JournalAdmin(ReadOnlyAdmin, EffectAdmin):
    list_display = ("at", "what", "object_column", "fields_column", "actor_column")
    list_filter = (TableFilter,)
    search_fields = ("actor",)
    search_help_text = _("Name of a user, a group, an application or the author")
    date_hierarchy = "at"

    # ---- the list ----

    @admin.display(description=pgettext_lazy("journal", "change"))
    def what(self, entry: JournalEntry) -> str:
        return f"{LABELS[entry.table_name]}: {verb_of(entry.before, entry.after)}"

    @admin.display(description=_("object"))
    def object_column(self, entry: WithAnnotations[JournalEntry, Named]) -> SafeString:
        return cut(entry.names.of(entry.table_name, entry.after or entry.before or {}))

    @admin.display(description=_("fields"))
    def fields_column(self, entry: JournalEntry) -> SafeString | str:
        if entry.before is None or entry.after is None:
            return ""
        differing = [name for name in entry.after if entry.after[name] != entry.before.get(name)]
        return cut(", ".join(label_of_column(entry.table_name, name) for name in differing))

    @admin.display(description=_("changed by"), ordering="actor")
    def actor_column(self, entry: JournalEntry) -> SafeString:
        return cut(actor_words(entry.actor))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JournalList

    def get_queryset(self, request: HttpRequest) -> QuerySet[JournalEntry]:
        return super().get_queryset(request).filter(is_baseline=False)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find changes by their author and by the name of their object, even if it was deleted."""
        term = search_term.strip()
        if not term or "\0" in term:
            return queryset, False
        found = Q(actor__iexact=term)
        for column, table, model, name in (
            ("person", "accounts_user", get_user_model(), "username"),
            ("team", "auth_group", Group, "name"),
            ("application", "authgate_application", Application, "name"),
        ):
            present = model._default_manager.filter(**{f"{name}__icontains": term})
            gone = JournalEntry.objects.filter(table_name=table, after__isnull=True)
            gone = gone.filter(**{f"before__{name}": term})
            keys = {*present.values_list("pk", flat=True)[:MOST_FOUND]}
            keys |= {*gone.values_list("key", flat=True)[:MOST_FOUND]}
            found |= Q(**{f"{column}__in": keys})
        return queryset.filter(found), False

    # ---- the page of a change, and its undo ----

    def get_urls(self) -> list[URLPattern]:
        guarded, name = self.admin_site.admin_view, "authgate_journalentry"
        return [
            path("<int:key>/undo/", guarded(self.undo_page), name=f"{name}_undo"),
            *super().get_urls(),
        ]

    def _entry(self, request: HttpRequest, key: str) -> JournalEntry:
        found = self.get_object(request, key) if is_row_id(key) else None
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        if found is None:
            raise Http404
        entry: JournalEntry = found
        return entry

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a change with all its rows, and whether the reader can undo it."""
        entry = self._entry(request, object_id)
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        entries = change_of(entry)
        names = names_for(entries)
        steps, problems, later = self._planned(request, entries)
        context = {
            "title": gettext("Change of %s") % names.of(entry.table_name, entry.after or entry.before or {}),
            "entry": entry,
            "actor": actor_words(entry.actor),
            "rows": [
                _shown(each.table_name, each.before, each.after, names) for each in entries[:MOST_SHOWN]
            ],
            "count": len(entries),
            "more": len(entries) > MOST_SHOWN,
            "can_undo": bool(steps) and not problems,
            "problems": problems,
            "later": later,
        }
        return self._page(request, "admin/journal_change.html", context)

    def undo_page(self, request: HttpRequest, key: int) -> HttpResponse:
        """Show what an undo writes and who is affected. Write it after a confirmation."""
        entry = self._entry(request, str(key))
        entries = change_of(entry)
        steps, problems, _later = self._planned(request, entries)
        if problems:
            for problem in problems:
                self.message_user(request, problem, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:authgate_journalentry_change", args=[key]))
        names = names_for(entries)
        context = {
            "entry": entry,
            "steps": [_shown_step(step, names) for step in steps[:MOST_SHOWN]],
            "count": len(steps),
            "more": len(steps) > MOST_SHOWN,
            "brings_users": any(step.table.name == "accounts_user" and step.now is None for step in steps),
        }
        question = Question(
            gettext("Take this change back?"),
            cancel=reverse("admin:authgate_journalentry_change", args=[key]),
            button=gettext("Take the change back"),
            template="admin/journal_undo.html",
            context=context,
        )
        return self._answered(request, lambda request: self._undo(request, entry, question))

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        request.current_app = self.admin_site.name
        every = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, template, every)

    def _planned(
        self, request: HttpRequest, entries: list[JournalEntry]
    ) -> tuple[list[Step], list[str], JournalEntry | None]:
        """Return the steps of an undo, the reasons against it, and the later change that depends on it."""
        try:
            steps = with_allowed_rights(request, steps_for(entries))
        except CannotUndo as problem:
            return [], [undo_problem(problem)], problem.later
        return steps, refusals(request, steps), None

    def _undo(self, request: HttpRequest, entry: JournalEntry, question: Question) -> HttpResponse:
        page = question.cancel
        try:
            return Trial(self, request, EVERYTHING).ask(lambda: self._write(request, entry, page), question)
        except CannotUndo as problem:
            self.message_user(request, undo_problem(problem), messages.ERROR)
        except IntegrityError:
            said = gettext("Another row now has the same name or value. Nothing was changed.")
            self.message_user(request, said, messages.ERROR)
        return HttpResponseRedirect(page)

    def _write(self, request: HttpRequest, entry: JournalEntry, page: str) -> HttpResponse:
        """Undo the change. Lock the rows first, and decide everything again."""
        with transaction.atomic():
            entries = change_of(entry)
            lock(steps_for(entries))
            steps = with_allowed_rights(request, steps_for(entries))
            if refusals(request, steps):
                raise PermissionDenied
            names = names_for(entries)
            take_back(steps)
            record(
                "change_undone",
                actor=request.user.get_username(),
                subject=names.of(entry.table_name, entry.after or entry.before or {}),
                address=client_address(request),
                details={"entry": entry.pk, "rows": len(steps), "changed_by": entry.actor},
            )
        self.message_user(request, gettext("The change was taken back."), messages.SUCCESS)
        return HttpResponseRedirect(page)


def undo_problem(problem: CannotUndo) -> str:
    """Return the reason why a change cannot be undone, in the reader's language."""
    sentences = {
        undo.LATER: gettext("A later change depends on it. Take that one back first."),
        undo.BASELINE: gettext("The journal began with this row. There is no earlier state."),
        undo.TOO_LARGE: gettext("The change has more than 500 rows. Change them by hand."),
        undo.NOTHING: gettext("The change made no difference."),
        undo.GONE: gettext("Something that the row needs no longer exists."),
        undo.DIFFERS: gettext("The rows differ from the journal, so nothing was changed."),
        undo.LOCKED: gettext("The change locked or unlocked the object. Undo that on its own page."),
        undo.NO_SUPERUSER: gettext("This would leave no superuser who can sign in. Nothing was changed."),
        undo.REFUSED: gettext("A form would refuse this now: %s") % problem.said,
    }
    return sentences[problem.reason]


def _shown(table: str, before: Any, after: Any, names: Names) -> dict[str, Any]:
    return {
        "label": LABELS[table],
        "verb": verb_of(before, after),
        "name": names.of(table, after or before or {}),
        "columns": columns_of(table, before, after, names),
    }


def _shown_step(step: Step, names: Names) -> dict[str, Any]:
    row = step.then or step.now or {}
    columns = [
        (
            label_of_column(step.table.name, column),
            value_words(step.table.name, column, now, names) if step.now else "",
            value_words(step.table.name, column, then, names) if step.then else "",
        )
        for column, now, then in step.columns
        if column != step.table.key
    ]
    return {
        "label": LABELS[step.table.name],
        "verb": verb_of(step.now, step.then),
        "name": names.of(step.table.name, row),
        "columns": columns,
    }
