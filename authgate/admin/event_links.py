"""Links from events to the admin's pages, loaded for all rows of a page at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from authgate.admin.list_columns import cut
from authgate.decision.target import origins_claiming
from authgate.models import Application, AuditEvent, ConfigurationEvent, Origin

CELL = "cut short"
User = get_user_model()


class EventLinks:
    """Links to users, applications and changed rows, if the row still exists and the reader may see it."""

    def __init__(self, request: HttpRequest, events: Iterable[AuditEvent]) -> None:
        self._request = request
        rows = list(events)
        self._users = self._users_named({name for event in rows for name in (event.actor, event.subject)})
        self._applications = self._applications_named({event.application for event in rows})
        self._objects = self._existing(filter(None, map(_object_of, rows)))

    def actor(self, event: AuditEvent) -> SafeString:
        return self._person(event.actor, event.at)

    def subject(self, event: AuditEvent) -> SafeString:
        """Return the link to an event's subject: the changed row, otherwise the user with that name."""
        changed = _object_of(event)
        if changed is None:
            return self._person(event.subject, event.at)
        return _link(_page_of(*changed) if changed in self._objects else "", event.subject)

    def application(self, event: AuditEvent) -> SafeString:
        key = self._applications.get(event.application)
        return _link(_page_of(Application, key) if key else "", event.application)

    def _person(self, name: str, at: datetime) -> SafeString:
        """Return the link to the user with a name, unless that user joined after the event."""
        key, joined = self._users.get(name, (None, at))
        return _link(_page_of(User, key) if key and joined <= at else "", name)

    def _users_named(self, names: set[str]) -> dict[str, tuple[int, datetime]]:
        if not _may_view(self._request, User):
            return {}
        found = User.objects.filter(username__in=names - {""}).values_list("username", "pk", "date_joined")
        return {name: (key, joined) for name, key, joined in found}

    def _applications_named(self, names: set[str]) -> dict[str, int]:
        if not _may_view(self._request, Application):
            return {}
        return dict(Application.objects.filter(name__in=names - {""}).values_list("name", "pk"))

    def _existing(self, objects: Iterable[tuple[type[Model], int]]) -> set[tuple[type[Model], int]]:
        """Return the objects that exist. One query for each model that the reader may see."""
        keys: dict[type[Model], set[int]] = defaultdict(set)
        for model, key in objects:
            keys[model].add(key)
        return {
            (model, key)
            for model, wanted in keys.items()
            if _may_view(self._request, model)
            for key in model._default_manager.filter(pk__in=wanted).values_list("pk", flat=True)
        }


class SiteLinks:
    """Links from configuration events to the applications of their origins."""

    def __init__(self, request: HttpRequest, events: Iterable[ConfigurationEvent]) -> None:
        self._owners: dict[str, int] = {}
        if _may_view(request, Application):
            claiming = {value for event in events if event.origin for value in origins_claiming(event.origin)}
            found = Origin.objects.filter(value__in=claiming).values_list("value", "application_id")
            self._owners = dict(found)

    def site(self, event: ConfigurationEvent) -> SafeString:
        owners = (self._owners.get(value) for value in origins_claiming(event.origin) if event.origin)
        key = next(filter(None, owners), None)
        return _link(_page_of(Application, key) if key else "", event.origin, "cut site")


def _object_of(event: AuditEvent) -> tuple[type[Model], int] | None:
    details: dict[str, Any] = event.details if isinstance(event.details, dict) else {}
    label, key = details.get("object"), details.get("key")
    if not isinstance(label, str) or not isinstance(key, int) or isinstance(key, bool):
        return None
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return None  # the event is from a version with another model
    return (model, key) if admin.site.is_registered(model) else None


def _may_view(request: HttpRequest, model: type[Model]) -> bool:
    return admin.site.get_model_admin(model).has_view_or_change_permission(request)


def _page_of(model: type[Model], key: int) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])


def _link(url: str, text: str, css_class: str = CELL) -> SafeString:
    cell = cut(text, css_class)
    return format_html('<a href="{}">{}</a>', url, cell) if url and text else cell
