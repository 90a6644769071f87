"""Filters of the admin's lists that stay small however many rows there are."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Field, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from authgate.configuration_words import mistake_words
from authgate.event_words import EVENTS, label_of
from authgate.models import ConfigurationEvent

MOST_CHOICES = 500


class BoundedRelatedFilter(admin.RelatedFieldListFilter):
    """A filter by related rows that lists the first 500 by name; the page's script searches among them."""

    def field_choices(
        self, field: Field[Any, Any], request: HttpRequest, model_admin: Any
    ) -> list[tuple[str, Any]]:
        related = field.remote_field.model._default_manager  # type: ignore[union-attr]
        return [(str(row.pk), str(row)) for row in related.order_by("name")[:MOST_CHOICES]]


class KindFilter(admin.SimpleListFilter):
    """Kinds of audit events in words, from the code: the table itself would have to be read through."""

    title = _("event")
    parameter_name = "kind__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((kind, label_of(kind)) for kind in EVENTS), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class MistakeFilter(admin.SimpleListFilter):
    """Reasons of the configuration events that there are, in words. There are a thousand rows at most."""

    title = _("reason")
    parameter_name = "reason__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = ConfigurationEvent.objects.order_by("reason").values_list("reason", flat=True).distinct()
        return [(reason, mistake_words(reason) or reason) for reason in found]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(reason=self.value()) if self.value() else queryset
