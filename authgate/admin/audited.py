"""Base classes of the admin's pages: changes write audit events, logs are read-only, actions ask first."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, Model, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from authgate.admin.deleted_rows import DeletedRows
from authgate.admin.field_changes import changes_of
from authgate.admin.list_columns import moment_column
from authgate.audit import record
from authgate.peer import client_address
from authgate.validation import refuse_hidden, refuse_hidden_in_lines

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

SHOWN_BEFORE_AN_ACTION = 50


def is_row_id(text: str) -> bool:
    """Return whether a text can be a row's primary key: a number that fits into 64 bits."""
    return text.isdecimal() and len(text) < 19


class ReadableText(admin.options.BaseModelAdmin):
    """Refuses invisible characters in texts: they can imitate another text or reverse a line's direction."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field, forms.CharField):
            has_lines = isinstance(field.widget, forms.Textarea)
            field.validators.append(refuse_hidden_in_lines if has_lines else refuse_hidden)
        return field


class InlineFormSet(BaseInlineFormSet):
    """The forms of an inline. The empty form is created once, because a page requests it five times."""

    @cached_property
    def empty_form(self) -> Any:
        return super().empty_form


class AuditedAdmin(ReadableText, admin.ModelAdmin):
    """A model's admin that writes an audit event for each change, in the same transaction."""

    secret_fields: tuple[str, ...] = ()
    """Fields that no list may filter by. Filters would reveal the values letter by letter."""

    chosen_by_name: tuple[str, ...] = ()
    """Fields of the form that choose rows, besides the model's own fields."""

    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    """Off, because the count of each choice of a filter reads the whole table."""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns of the list. Dates and times fit into one line."""
        return [self._column(column) for column in super().get_list_display(request)]

    def _column(self, column: Any) -> Any:
        if not isinstance(column, str) or hasattr(self, column):
            return column
        field = next((field for field in self.opts.concrete_fields if field.name == column), None)
        return moment_column(field) if isinstance(field, DateTimeField) else column

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        if lookup.partition("__")[0] in self.secret_fields:
            return False
        return super().lookup_allowed(lookup, value, request)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Save the form. If another request has just saved the same name or origin, show the form again."""
        self._refuse_invalid_ids(request)
        save = partial(super().changeform_view, request, object_id, form_url, extra_context)
        try:
            return self.carry_out(request, save, object_id)
        except IntegrityError:
            # The change was rolled back. Validation now finds the other row and names the field.
            return self._changeform_again(request, save, object_id)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any | None:
        """Load the row of a page. Raises PermissionDenied if the user can do nothing with any row.

        Django checks permissions only after this query, which takes longer than the check. Its history page
        even redirects if there is no such row, so users without any permission would learn which rows exist.
        """
        if not (self.has_view_or_change_permission(request) or self.has_delete_permission(request)):
            raise PermissionDenied
        return super().get_object(request, object_id, from_field)

    def carry_out(
        self,
        request: HttpRequest,
        act: Callable[[], HttpResponse],
        object_id: str | None = None,
        *,
        is_list: bool = False,
    ) -> HttpResponse:
        """Call `act`, which shows or saves a form, or the list (`is_list`) with its actions."""
        return act()

    def _changeform_again(
        self, request: HttpRequest, save: Callable[[], HttpResponse], object_id: str | None
    ) -> HttpResponse:
        try:
            return self.carry_out(request, save, object_id)
        except IntegrityError:
            message = _(
                "Someone else changed the same data at the same time, so nothing was saved. Try again."
            )
            self.message_user(request, message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def _refuse_invalid_ids(self, request: HttpRequest) -> None:
        """Refuse numbers that no row can have, because a query with them fails in the database."""
        inlines = (name for inline in self.inlines for name in inline.autocomplete_fields)
        choosing = {*self.autocomplete_fields, *self.filter_horizontal, *self.chosen_by_name, *inlines}
        for name, values in request.POST.lists():
            if name.rpartition("-")[2] in choosing and not all(is_row_id(text) for text in values if text):
                raise SuspiciousOperation("what was chosen is no row")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not all(map(is_row_id, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise SuspiciousOperation("an action was asked for on what is no row")
        show = partial(super().changelist_view, request, extra_context)
        with atomic_on_post(request):
            return self.carry_out(request, show, is_list=True)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return the rows of a deletion, their counts, the missing permissions, and what prevents it."""
        rows = DeletedRows(objs, self.admin_site, _is_record)
        return rows.listed(), rows.counts(), rows.lacking(request), rows.protecting()

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, Any]]:
        """Return Django's message, which names the fields. Store their values for the audit event."""
        values = [] if add else changes_of(form, formsets or (), self.secret_fields)
        request.field_changes = values  # type: ignore[attr-defined]  # an attribute of our own, for log_change
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        record_by(request, "added", obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        if message:
            record_by(request, "changed", obj, message, getattr(request, "field_changes", None))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            record_by(request, "deleted", obj, [])
        return super().log_deletions(request, queryset)


def _is_record(model: type[Model]) -> bool:
    return isinstance(admin.site._registry.get(model), ReadOnlyAdmin)


def name_fields(form: Any) -> None:
    """Label the fields in a row of an inline table. Assistive technology does not read a column's heading."""
    for field in form.fields.values():
        if field.label:
            field.widget.attrs["aria-label"] = str(field.label)


def atomic_on_post(request: HttpRequest) -> AbstractContextManager[Any]:
    """Return a transaction for a POST. A GET gets none, because it must not take SQLite's only write lock."""
    return transaction.atomic() if request.method == "POST" else nullcontext()


class ReadOnlyAdmin(AuditedAdmin):
    """A model's admin with read-only rows. Actions may end them."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def record_by(
    request: HttpRequest, kind: str, obj: Model, changes: Any, values: list[dict[str, Any]] | None = None
) -> None:
    """Write the audit event of an administrator's change, with field names and values that are not secret."""
    details = {"object": obj._meta.label_lower, "key": obj.pk, "changes": json.loads(json.dumps(changes))}
    if values:
        details["values"] = values
    record(
        kind,
        actor=request.user.get_username(),
        subject=str(obj),
        address=client_address(request),
        details=details,
    )


def ask_first(
    model_admin: AuditedAdmin,
    request: HttpRequest,
    queryset: QuerySet[Any],
    *,
    action: str,
    question: str,
    button: str,
) -> HttpResponse | None:
    """Return the page that asks to confirm an action, or None after the confirmation."""
    if request.POST.get("confirmed"):
        return None
    across = request.POST.get("select_across") == "1"
    chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": question,
        "opts": model_admin.opts,
        "action": action,
        "button": button,
        "count": queryset.count(),
        "objects": queryset[:SHOWN_BEFORE_AN_ACTION],
        "across": across,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "chosen": chosen[:1] if across else chosen,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/ask_first.html", context)


Refuses = Callable[[Any, HttpRequest, QuerySet[Any]], bool]
Act = Callable[[Any, HttpRequest, QuerySet[Any]], None]
Action = Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponse | None]


def confirmed(
    question: _StrPromise, button: _StrPromise, *, unless: tuple[Refuses, ...]
) -> Callable[[Act], Action]:
    """Return a decorator: a list's action runs after a confirmation, unless one of `unless` refuses it."""

    def decorate(act: Act) -> Action:
        @wraps(act)
        def action(self: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
            if any(refuses(self, request, queryset) for refuses in unless):
                return None
            asked = ask_first(
                self, request, queryset, action=act.__name__, question=str(question), button=str(button)
            )
            if asked is None:
                act(self, request, queryset)
            return asked

        return action

    return decorate
