"""Requests for access in the admin: a list with links to the page on which owners answer."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import AccessRequest
from authgate.admin.audited import ReadOnlyAdmin


@admin.register(AccessRequest)
class AccessRequestAdmin(ReadOnlyAdmin):
    list_display = ("user", "application", "asked_at", "answer", "answered_by", "until", "page_of_answer")
    list_display_links = None
    list_filter = ("answer", ("answered_at", admin.EmptyFieldListFilter))
    list_select_related = ("user", "application")
    search_fields = ("user__username", "application__name")
    search_help_text = _("User or application")

    @admin.display(description=_("answer page"))
    def page_of_answer(self, found: AccessRequest) -> SafeString:
        url = reverse("access_request", args=[found.pk])
        return format_html('<a href="{}">{}</a>', url, gettext("Open"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessRequest]:
        found: QuerySet[AccessRequest] = super().get_queryset(request)
        return found
