"""Roles in the admin: checkboxes for superusers, names for other staff."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.privilege import requester_of
from accounts.roles import ROLES, Role, held_roles, permissions_of


def roles_of(holder: Model, permissions_field: str) -> list[Role]:
    """Return the roles of a user or a group. `permissions_field` names the field of its permissions."""
    if holder.pk is None:
        return []
    return held_roles(getattr(holder, permissions_field).select_related("content_type"))


class RolesFormMixin(forms.BaseModelForm):
    """A form of a user or group with checkboxes for roles above the list of permissions.

    Only superusers see the checkboxes and the list. `requester` is the user who fills in the form.
    """

    permissions_field: str
    requester: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.requester.is_superuser:
            for name in ("roles", self.permissions_field):
                self.fields.pop(name, None)
            return
        field: Any = self.fields["roles"]
        field.choices = [
            (role.key, format_html("{} <small>{}</small>", role.name, role.sentence)) for role in ROLES
        ]
        self.held_before = {role.key for role in roles_of(self.instance, self.permissions_field)}
        field.initial = sorted(self.held_before)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "roles" in cleaned and self.permissions_field in cleaned:
            cleaned[self.permissions_field] = self._with_roles(
                cleaned[self.permissions_field], set(cleaned["roles"])
            )
        return cleaned

    def _with_roles(self, permissions: Iterable[Permission], chosen: set[str]) -> QuerySet[Permission]:
        """Return the permissions with those of newly checked roles, without those of newly unchecked ones.

        Keep a permission of an unchecked role if another checked role has it.
        """
        kept = {each.pk for each in permissions}
        added = set(permissions_of(chosen - self.held_before).values_list("pk", flat=True))
        dropped = set(permissions_of(self.held_before - chosen).values_list("pk", flat=True))
        still = set(permissions_of(chosen).values_list("pk", flat=True))
        return Permission.objects.filter(pk__in=(kept | added) - (dropped - still))


def roles_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=_("Roles"),
        required=False,
        choices=[(role.key, role.name) for role in ROLES],
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Roles apply only to users with staff status. Clearing a role removes its permissions."),
    )


class RolesAdminMixin(admin.ModelAdmin):
    """An admin page of users or groups. Its `fieldsets` are for superusers."""

    permissions_field: str

    @admin.display(description=_("roles"))
    def held_roles(self, holder: Model) -> str:
        return ", ".join(str(role.name) for role in roles_of(holder, self.permissions_field)) or "-"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if requester_of(request).is_superuser:
            return fieldsets
        return tuple(
            (
                name,
                {
                    **options,
                    "fields": tuple("held_roles" if each == "roles" else each for each in options["fields"]),
                },
            )
            for name, options in fieldsets
            if self.permissions_field not in options["fields"]
        )
