"""Invitations in the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group as DjangoGroup
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin.forms import free_address
from accounts.models import Invitation, User
from accounts.onboarding.invitations import LONGEST_DAYS, invite
from accounts.privilege import requester_of
from authgate.admin.audited import AuditedAdmin


class InvitationForm(forms.ModelForm):
    requester: User
    days = forms.IntegerField(
        label=_("Valid for"), min_value=1, max_value=LONGEST_DAYS, initial=7, help_text=_("Number of days.")
    )

    class Meta:
        model = Invitation
        fields = ("email", "groups")

    def clean_email(self) -> str:
        return free_address(self.cleaned_data["email"])

    def clean_groups(self) -> QuerySet[DjangoGroup]:
        groups: QuerySet[DjangoGroup] = self.cleaned_data["groups"]
        if not self.requester.is_superuser and groups.filter(permissions__isnull=False).exists():
            message = _("Only superusers can invite users to groups with permissions.")
            raise forms.ValidationError(message, code="privilege")
        return groups


@admin.register(Invitation)
class InvitationAdmin(AuditedAdmin):
    """The page to create and withdraw invitations. It shows each link once."""

    form = InvitationForm
    list_display = ("__str__", "made_by", "created_at", "expires_at", "used_at", "used_by")
    list_filter = (("used_at", admin.EmptyFieldListFilter),)
    list_select_related = ("made_by", "used_by")
    search_fields = ("email", "used_by__username")
    search_help_text = _("E-mail address or user")
    autocomplete_fields = ("groups",)
    fields = ("email", "groups", "days")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return self.fields
        return ("email", "groups", "made_by", "created_at", "expires_at", "used_at", "used_by")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.requester = requester_of(request)
        return form

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        made, link = invite(
            email=form.cleaned_data["email"],
            groups=form.cleaned_data["groups"],
            days=form.cleaned_data["days"],
            inviter=requester_of(request),
        )
        obj.pk, obj.created_at, obj.expires_at = made.pk, made.created_at, made.expires_at
        obj._state.adding = False
        text = gettext("This link creates one account. It is shown only once: %(link)s")
        self.message_user(request, text % {"link": link}, messages.SUCCESS)
