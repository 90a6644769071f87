"""API tokens in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.admin.sessions import SessionAdmin
from accounts.machines.api_tokens import end_tokens
from accounts.models import ApiToken, User
from authgate.admin.audited import confirmed, record_by
from authgate.admin.list_columns import chips
from authgate.admin.list_filters import BoundedRelatedFilter


@admin.register(ApiToken)
class ApiTokenAdmin(SessionAdmin):
    """The page to view and end API tokens.

    Users create their own tokens. Administrators create tokens for others with `manage.py api_token`.
    """

    secret_fields = ("token_digest",)
    list_display = ("name", "user", "application_names", "created_at", "last_used_at", "expires_at", "live")
    list_filter = (("ended_at", admin.EmptyFieldListFilter), ("applications", BoundedRelatedFilter))
    list_select_related = ("user",)
    search_fields = ("name", "user__username", "user__display_name")
    search_help_text = _("Name or user")
    fields = (
        "name",
        "user",
        "application_names",
        "created_at",
        "last_used_at",
        "expires_at",
        "ended_at",
        "live",
    )
    readonly_fields = fields
    actions = ("end_chosen",)

    @admin.display(description=_("applications"))
    def application_names(self, token: ApiToken) -> SafeString:
        return chips(sorted(application.name for application in token.applications.all()))

    @admin.display(description=_("active"), boolean=True)
    def live(self, token: ApiToken) -> bool:
        return token.is_live and token.user.is_active

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return super().get_queryset(request).prefetch_related("applications")

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apitoken")

    def users_of(self, queryset: QuerySet[Any]) -> QuerySet[User]:
        return User.objects.filter(pk__in=queryset.order_by().values("user"))

    @admin.action(permissions=["end"], description=_("Revoke the selected API tokens"))
    @confirmed(
        _("Revoke these API tokens? Programs that use them will be refused."),
        _("Revoke"),
        unless=(SessionAdmin.is_out_of_reach,),
    )
    def end_chosen(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        ending = list(queryset.filter(ended_at=None).select_related("user"))
        end_tokens(ApiToken.objects.filter(pk__in=[token.pk for token in ending]))
        for token in ending:
            record_by(request, "token_ended", token, {"user": token.user.username})
        text = ngettext("%d API token was revoked.", "%d API tokens were revoked.", len(ending))
        self.message_user(request, text % len(ending), messages.SUCCESS)
