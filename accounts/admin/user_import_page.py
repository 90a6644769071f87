"""The admin's page that imports users from CSV: a form, the effect of the import, and its result."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.admin.user_import import COLUMNS, ImportPlan, UnreadableFile, check, people_in_csv, perform
from accounts.models import Group
from accounts.privilege import requester_of
from authgate.admin.audited import AuditedAdmin, record_by

MOST_AT_ONCE = 500
"""Users in one file, because the browser waits for the import. The command has no such limit."""

LONGEST_TEXT = 200_000


class ImportForm(forms.Form):
    file = forms.FileField(label=_("CSV file"), required=False)
    text = forms.CharField(
        label=_("Or its content"),
        required=False,
        strip=False,
        max_length=LONGEST_TEXT,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "autocomplete": "off"}),
        help_text=_("The first line names the columns: username,display_name,email,groups"),
    )
    create_groups = forms.BooleanField(
        label=_("Create missing groups"),
        required=False,
        help_text=_("New groups have no permissions. If off, unknown groups are an error."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        text = self._uploaded(cleaned["file"]) if cleaned["file"] else cleaned["text"]
        if not text.strip():
            raise ValidationError(gettext("Choose a file, or enter its text."))
        try:
            people = people_in_csv(text)
        except UnreadableFile as error:
            raise ValidationError(str(error)) from None
        if len(people) > MOST_AT_ONCE:
            message = gettext("The file has more than %d users. Split it.")
            raise ValidationError(message % MOST_AT_ONCE)
        return {**cleaned, "text": text, "people": people}

    def _uploaded(self, file: Any) -> str:
        if file.size > LONGEST_TEXT:
            raise ValidationError(gettext("The file is too large. Split it."))
        try:
            return str(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise ValidationError(gettext("The file is not UTF-8. Save it as CSV UTF-8.")) from None


def import_page(model_admin: AuditedAdmin, request: HttpRequest) -> HttpResponse:
    """Show the form, or the effect of a file. After the confirmation, create the users."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    if not request.user.has_perms(("accounts.add_user", "accounts.change_user")):
        raise PermissionDenied
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if not request.user.has_perm("accounts.add_group"):
        form.fields["create_groups"].disabled = True
    plan = _plan(request, form) if form.is_bound and form.is_valid() else None
    if plan is not None and not plan.has_problems and "confirmed" in request.POST:
        return _create(model_admin, request, plan)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": gettext("Import users"),
        "opts": model_admin.opts,
        "form": form,
        "plan": plan,
        "columns": ", ".join(COLUMNS),
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/user_import.html", context)


def _plan(request: HttpRequest, form: ImportForm) -> ImportPlan:
    cleaned = form.cleaned_data
    is_superuser = requester_of(request).is_superuser
    return check(cleaned["people"], is_superuser=is_superuser, creates_groups=cleaned["create_groups"])


def _create(model_admin: AuditedAdmin, request: HttpRequest, plan: ImportPlan) -> HttpResponse:
    try:
        with transaction.atomic():
            users = perform(plan)
            for group in Group.objects.filter(name__in=plan.new_groups):
                record_by(request, "added", group, [{"added": {}}])
            for user in users:
                model_admin.log_addition(request, user, [{"added": {}}])
    except IntegrityError:
        message = gettext(
            "Someone else changed the same data at the same time, so nothing was saved. Try again."
        )
        model_admin.message_user(request, message, messages.ERROR)
        return HttpResponseRedirect(request.path)
    text = ngettext("%d user was created.", "%d users were created.", len(users))
    model_admin.message_user(request, text % len(users), messages.SUCCESS)
    return HttpResponseRedirect(reverse("admin:accounts_user_changelist"))
