"""Filters of the admin's lists that stay small even if there are many rows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import get_model_from_relation
from django.db.models import Field, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from authgate.configuration_words import mistake_words
from authgate.event_words import EVENTS, label_of
from authgate.models import ConfigurationEvent

MOST_CHOICES = 500


class BoundedRelatedFilter(admin.RelatedFieldListFilter):
    """A filter by related rows. It lists the first 500 by name, and the page's script searches among them."""

    def field_choices(
        self, field: Field[Any, Any], request: HttpRequest, model_admin: Any
    ) -> list[tuple[str, Any]]:
        related = get_model_from_relation(field)._default_manager
        return [(str(row.pk), str(row)) for row in related.order_by("name")[:MOST_CHOICES]]


class KindFilter(admin.SimpleListFilter):
    """A filter by kind of audit event. The kinds come from the code, because the table is too large."""

    title = _("event")
    parameter_name = "kind__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((kind, label_of(kind)) for kind in EVENTS), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class MistakeFilter(admin.SimpleListFilter):
    """A filter by reason of configuration events. The reasons come from the table: at most 1,000 rows."""

    title = _("reason")
    parameter_name = "reason__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = ConfigurationEvent.objects.order_by("reason").values_list("reason", flat=True).distinct()
        return [(reason, mistake_words(reason) or reason) for reason in found]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(reason=self.value()) if self.value() else queryset
