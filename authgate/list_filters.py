"""Filters of the admin's lists that stay small however many rows there are."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Field
from django.http import HttpRequest

MOST_CHOICES = 500


class BoundedRelatedFilter(admin.RelatedFieldListFilter):
    """A filter by related rows that lists the first 500 by name; the page's script searches among them."""

    def field_choices(
        self, field: Field[Any, Any], request: HttpRequest, model_admin: Any
    ) -> list[tuple[str, Any]]:
        related = field.remote_field.model._default_manager  # type: ignore[union-attr]
        return [(str(row.pk), str(row)) for row in related.order_by("name")[:MOST_CHOICES]]
