"""Groups in the admin. Only superusers may change groups with permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import django.contrib.auth.admin  # noqa: F401 (registers the page that is removed below)
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group as DjangoGroup
from django.db.models import Count, Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import URLPattern
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.admin.forms import (
    GroupForm,
    with_permissions_in_words,
)
from accounts.admin.roles import RolesAdminMixin
from accounts.models import Group, ManagedGroup, Membership, StrictGroup, User
from accounts.privilege import privileged, requester_of
from authgate.admin.audited import ReadOnlyAdmin
from authgate.admin.effect import EffectAdmin
from authgate.memberships import with_end

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

NEWEST = 20

admin.site.unregister(DjangoGroup)


class Counted(TypedDict):
    """The annotations of `GroupAdmin.get_queryset`."""

    how_many: int
    is_powerful: bool


@admin.register(Group)
class GroupAdmin(RolesAdminMixin, EffectAdmin):
    permissions_field = "permissions"
    form = GroupForm
    change_form_template = "admin/group.html"
    list_display = ("name", "member_count", "carries_permissions", "is_strict")
    search_fields = ("name",)
    search_help_text = _("Name")
    filter_horizontal = ("permissions",)
    chosen_by_name = ("managers", "add_members", "remove_members")
    readonly_fields = ("members",)
    actions_with_effect = ("delete_selected",)
    fieldsets = (
        (None, {"fields": ("name", "second_factor")}),
        (_("Members"), {"fields": ("members", "managers", "add_members", "members_until", "remove_members")}),
        (_("Administration rights"), {"fields": ("roles",)}),
        (_("Individual permissions"), {"classes": ("collapse",), "fields": ("permissions",)}),
    )
    ordering = ("name",)

    @admin.display(description=_("members"), ordering="how_many")
    def member_count(self, group: WithAnnotations[Group, Counted]) -> int:
        return group.how_many

    @admin.display(description=_("has permissions"), boolean=True, ordering="is_powerful")
    def carries_permissions(self, group: WithAnnotations[Group, Counted]) -> bool:
        return group.is_powerful

    @admin.display(description=_("second factor required"), boolean=True)
    def is_strict(self, group: Group) -> bool:
        return hasattr(group, "strict_group")

    @admin.display(description=_("members"))
    def members(self, group: Group) -> SafeString | str:
        if group.pk is None:
            return "-"
        memberships = Membership.objects.filter(group=group.pk).select_related("user")
        people = [
            (each.user, with_end(each.user.username, each.ends_at))
            for each in memberships.order_by("user__username")[:NEWEST]
        ]
        context = {"people": people, "count": memberships.count(), "group": group}
        return render_to_string("admin/members.html", context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        powerful = Group.permissions.through.objects.filter(group=OuterRef("pk"))
        groups: QuerySet[Group] = super().get_queryset(request).select_related("strict_group")
        return groups.annotate(how_many=Count("user", distinct=True), is_powerful=Exists(powerful))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "permissions":
            everything = db_field.remote_field.model.objects.select_related("content_type")
            kwargs.setdefault("queryset", everything)  # otherwise each permission's name needs a query
        return with_permissions_in_words(super().formfield_for_manytomany(db_field, request, **kwargs))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.requester = requester_of(request)
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if requester_of(request).is_superuser:
            return self.readonly_fields
        return (*self.readonly_fields, "held_roles")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._is_harmless(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not super().has_delete_permission(request, obj) or not self._is_harmless(request, obj):
            return False
        # Deleting a group also changes its members.
        return (
            obj is None
            or requester_of(request).is_superuser
            or not privileged(User.objects.filter(groups=obj)).exists()
        )

    def _is_harmless(self, request: HttpRequest, group: Group | None) -> bool:
        if group is None or requester_of(request).is_superuser:
            return True
        return not group.permissions.exists()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if form.cleaned_data["second_factor"]:
            StrictGroup.objects.get_or_create(group_id=form.instance.pk)
        else:
            StrictGroup.objects.filter(group_id=form.instance.pk).delete()
        if requester_of(request).is_superuser:
            self._save_managers(form.instance, form.cleaned_data["managers"])
        added, until = form.cleaned_data["add_members"], form.cleaned_data["members_until"]
        form.instance.user_set.add(*added, through_defaults={"ends_at": until})
        if until is not None:
            Membership.objects.filter(group=form.instance.pk, user__in=added).update(ends_at=until)
        form.instance.user_set.remove(*form.cleaned_data["remove_members"])

    @staticmethod
    def _save_managers(group: Group, managers: QuerySet[User]) -> None:
        if managers or ManagedGroup._default_manager.filter(group_id=group.pk).exists():
            row, _made = ManagedGroup._default_manager.get_or_create(group_id=group.pk)
            row.managers.set(managers)

    def construct_change_message(
        self, request: HttpRequest, form: forms.Form, formsets: Any, add: bool = False
    ) -> Any:
        """Return the change message with the names of added and removed members."""
        message: list[Any] = super().construct_change_message(request, form, formsets, add)
        for kind, field in (("added", "add_members"), ("deleted", "remove_members")):
            for user in form.cleaned_data[field]:
                message.append({kind: {"name": "member", "object": user.username}})
        return message


@admin.register(DjangoGroup)
class GroupLookup(ReadOnlyAdmin):
    """Autocompletion for fields that refer to Django's own group. This class has no pages."""

    search_fields = ("name",)
    ordering = ("name",)

    def get_urls(self) -> list[URLPattern]:
        return []

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.site.get_model_admin(Group).has_view_permission(request)
