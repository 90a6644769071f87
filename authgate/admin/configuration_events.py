"""The admin's list of configuration events: mistakes in the configuration of proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from authgate.admin.audited import ReadOnlyAdmin
from authgate.admin.event_links import SiteLinks
from authgate.admin.list_columns import machine_name
from authgate.admin.list_filters import MistakeFilter
from authgate.configuration_words import fixing_line, mistake_words
from authgate.models import (
    ConfigurationEvent,
)

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations


class SiteList(ChangeList):
    """A page of configuration events with the links to the applications of their sites."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        links = SiteLinks(request, self.result_list)
        for event in self.result_list:
            event.links = links


class Linked(TypedDict):
    """What `SiteList` sets on each row."""

    links: SiteLinks


@admin.register(ConfigurationEvent)
class ConfigurationEventAdmin(ReadOnlyAdmin):
    """The page of configuration events. If the mistake is made again, a deleted event comes back."""

    list_display = ("what", "site", "contract", "count", "last_at")
    list_filter = ("contract", MistakeFilter)
    search_fields = ("origin", "reason")
    search_help_text = _("Origin or reason")
    date_hierarchy = "last_at"
    fields = ("mistake", "site", "contract", "cure", "count", "first_at", "last_at")
    readonly_fields = fields

    @admin.display(description=_("problem"), ordering="reason")
    def what(self, event: ConfigurationEvent) -> SafeString:
        words = mistake_words(event.reason) or event.reason
        return format_html(
            '<span class="event"><strong>{}</strong> {}</span>', words, machine_name(event.reason)
        )

    @admin.display(description=_("site"), ordering="origin")
    def site(self, event: WithAnnotations[ConfigurationEvent, Linked]) -> SafeString:
        return event.links.site(event)

    @admin.display(description=_("problem"))
    def mistake(self, event: ConfigurationEvent) -> SafeString:
        words = mistake_words(event.reason) or event.reason
        return format_html("<strong>{}</strong> {}", words, machine_name(event.reason))

    @admin.display(description=_("configuration line that fixes it"))
    def cure(self, event: ConfigurationEvent) -> SafeString | str:
        line = fixing_line(event.contract, event.reason)
        if not line:
            return gettext("No single configuration line fixes this. See the problem.")
        return format_html("<pre>{}</pre>", line)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SiteList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> ConfigurationEvent | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            event.links = SiteLinks(request, [event])
        return event

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return request.user.has_perm("authgate.delete_configurationevent")
