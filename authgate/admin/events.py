"""The admin's pages of audit events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from authgate.admin.audited import ReadOnlyAdmin
from authgate.admin.event_links import EventLinks
from authgate.admin.field_changes import label_of_change, model_named, named_fields, shown_change, values_of
from authgate.admin.list_columns import NOTHING, cut, machine_name
from authgate.admin.list_filters import KindFilter
from authgate.configuration_words import mistake_words
from authgate.event_words import label_of, reason_words, sentence_of
from authgate.models import (
    AuditEvent,
    Rule,
)

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations


class EventList(ChangeList):
    """A page of audit events with the links of all its rows."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        links = EventLinks(request, self.result_list)
        for event in self.result_list:
            event.links = links


class Linked(TypedDict):
    """What `EventList` sets on each row."""

    links: EventLinks


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = (
        "at",
        "what",
        "actor_column",
        "subject_column",
        "application_column",
        "address_column",
    )
    list_filter = (KindFilter,)
    search_fields = ("actor", "subject", "application", "decision_id", "address")
    search_help_text = _("Actor, affected user, application, address or decision")
    date_hierarchy = "at"
    fields = (
        "at",
        "kind_in_words",
        "actor_column",
        "subject_column",
        "application_column",
        "reason_in_words",
        "failed_rules",
        "address",
        "decision_id",
        "changes",
        "details_as_text",
    )
    readonly_fields = fields

    @admin.display(description=_("event"), ordering="kind")
    def what(self, event: AuditEvent) -> SafeString:
        return format_html(
            '<span class="event"><strong>{}</strong> {}{}</span>',
            label_of(event.kind),
            machine_name(event.kind),
            self._second_line(event),
        )

    def _second_line(self, event: AuditEvent) -> SafeString | str:
        """Return the event's reason with the decision id, or the changed fields."""
        if event.reason:
            number = machine_name(event.decision_id) if event.decision_id else ""
            words = words_of_reason(event)
            return format_html('<span class="why" title="{}">{} {}</span>', event.reason, words, number)
        changed = ", ".join(label_of_change(change) for change in values_of(event) if "field" in change)
        return format_html('<span class="why">{}</span>', changed) if changed else ""

    @admin.display(description=_("actor"), ordering="actor")
    def actor_column(self, event: WithAnnotations[AuditEvent, Linked]) -> SafeString:
        return event.links.actor(event)

    @admin.display(description=_("affected user"), ordering="subject")
    def subject_column(self, event: WithAnnotations[AuditEvent, Linked]) -> SafeString:
        return event.links.subject(event)

    @admin.display(description=_("application"), ordering="application")
    def application_column(self, event: WithAnnotations[AuditEvent, Linked]) -> SafeString:
        return event.links.application(event)

    @admin.display(description=_("address"), ordering="address")
    def address_column(self, event: AuditEvent) -> SafeString:
        return cut(event.address or "", "cut address")

    @admin.display(description=_("event"))
    def kind_in_words(self, event: AuditEvent) -> SafeString:
        return format_html(
            "<strong>{}</strong> {}<br>{}",
            label_of(event.kind),
            machine_name(event.kind),
            sentence_of(event.kind),
        )

    @admin.display(description=_("reason"))
    def reason_in_words(self, event: AuditEvent) -> SafeString:
        if not event.reason:
            return NOTHING
        return format_html("{} {}", words_of_reason(event), machine_name(event.reason))

    @admin.display(description=_("rules that did not match"))
    def failed_rules(self, event: AuditEvent) -> SafeString:
        """Return the first failed criterion of each rule for the path."""
        failed = [pair for pair in event.details.get("failed") or () if len(pair) == 2]
        rules = Rule.objects.filter(pk__in=[key for key, _criterion in failed]).in_bulk()
        lines = [
            (
                cut(str(rules[key])) if key in rules else gettext("a deleted rule"),
                reason_words(criterion) or criterion,
                machine_name(criterion),
            )
            for key, criterion in failed
        ]
        if not lines:
            return NOTHING
        return format_html('<ul class="changes">{}</ul>', format_html_join("", "<li>{}: {} {}</li>", lines))

    @admin.display(description=_("changes"))
    def changes(self, event: AuditEvent) -> SafeString:
        values = values_of(event)
        if values:
            model = model_named(event.details.get("object"))
            shown = [shown_change(model, change) for change in values]
            return render_to_string("admin/event_changes.html", {"changes": shown})
        named = named_fields(event)
        return cut(LogEntry(change_message=json.dumps(named)).get_change_message() if named else "")

    @admin.display(description=_("details"))
    def details_as_text(self, event: AuditEvent) -> SafeString:
        """Return the details that no other field of the page shows."""
        details = {name: value for name, value in dict(event.details or {}).items() if name != "values"}
        if not details:
            return NOTHING
        return format_html("<pre>{}</pre>", json.dumps(details, indent=2, ensure_ascii=False))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EventList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> AuditEvent | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            event.links = EventLinks(request, [event])
        return event


def words_of_reason(event: AuditEvent) -> str:
    return reason_words(event.reason) or mistake_words(event.reason) or event.reason
