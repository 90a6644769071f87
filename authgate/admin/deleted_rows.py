"""The rows that are deleted together with others: which are listed, counted, and need permissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import NestedObjects, quote
from django.db.models import Model
from django.db.models.deletion import Collector
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst


class DeletedRows(NestedObjects):
    """Rows, and the rows that are deleted together with them.

    `is_record` returns whether a model's rows are only records, such as access requests. Records are deleted
    with their owner, even if no page can delete them. They are counted but not listed. Rows of models without
    a page or an inline form, such as counters, are neither counted nor listed.
    """

    def __init__(self, rows: Iterable[Model], site: AdminSite, is_record: Callable[[type[Model]], bool]):
        found = list(rows)
        super().__init__(using="default", origin=found)
        self._chosen = {type(row) for row in found}
        self._site, self._is_record = site, is_record
        inlines = (form for page in site._registry.values() for form in page.inlines)
        # Memberships are not listed: a group can have thousands.
        self._inline = {form.model for form in inlines if getattr(form, "is_listed_with_deleted", True)}
        self.collect(found)

    def can_fast_delete(self, objs: Any, from_field: Any = None) -> bool:
        """Return whether rows can be deleted without loading them, because they are not listed."""
        model: Any = objs if isinstance(objs, type) else getattr(objs, "model", None)
        is_related = from_field is not None and model is not None
        return is_related and not self._is_listed(model) and Collector.can_fast_delete(self, objs, from_field)

    def add_edge(self, source: Model | None, target: Model) -> None:
        if self._is_listed(type(target)):
            super().add_edge(source, target)

    def listed(self) -> list[Any]:
        """Return the rows with links to their pages, nested as the admin's template expects."""
        return self.nested(self._words)

    def counts(self) -> dict[str, int]:
        """Return the number of rows by the plural of their model."""
        found = Counter({model: len(rows) for model, rows in self._loaded().items()})
        for rows in self.fast_deletes:
            if self._site.is_registered(rows.model):
                found[rows.model] += rows.count()
        return {
            str(model._meta.verbose_name_plural): count
            for model, count in found.items()
            if count and (self._is_listed(model) or self._site.is_registered(model))
        }

    def lacking(self, request: HttpRequest) -> set[str]:
        """Return the kinds of rows that the requester may not delete."""
        return {
            str(model._meta.verbose_name)
            for model, rows in self._loaded().items()
            if self._is_asked_about(model)
            and not all(self._site.get_model_admin(model).has_delete_permission(request, row) for row in rows)
        }

    def protecting(self) -> list[SafeString | str]:
        """Return the rows that prevent the deletion, because they need a deleted row."""
        return [self._words(row) for row in self.protected]

    def _loaded(self) -> dict[type[Model], set[Any]]:
        return self.model_objs  # type: ignore[return-value]  # the stubs say str keys, but keys are models

    def _is_listed(self, model: type[Model]) -> bool:
        return self._is_asked_about(model) or model in self._inline

    def _is_asked_about(self, model: type[Model]) -> bool:
        return model in self._chosen or (self._site.is_registered(model) and not self._is_record(model))

    def _words(self, row: Model) -> SafeString | str:
        meta = row._meta
        name = capfirst(meta.verbose_name)
        try:
            page = f"{self._site.name}:{meta.app_label}_{meta.model_name}_change"
            url = reverse(page, args=[quote(row.pk)])
        except NoReverseMatch:
            return f"{name}: {row}"
        return format_html('{}: <a href="{}">{}</a>', name, url, row)
