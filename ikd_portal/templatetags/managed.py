"""A template tag that shows whether a configuration file manages an object, and how they differ."""

from __future__ import annotations

from typing import Any

from django import template
from django.db.models import Model

from authgate.models import Application
from ikd_portal.configuration_file.document import APPLICATION, CLIENT, GROUP, PROVIDER
from ikd_portal.configuration_file.managed import Drift, drifts
from ikd_portal.models import ManagedObject

register = template.Library()

KIND_OF = {"application": APPLICATION, "group": GROUP, "upstream": PROVIDER}


@register.inclusion_tag("admin/managed.html")
def managed_by_file(original: Model | None) -> dict[str, Any]:
    """Return the context of the note above a form. An application's page includes its clients."""
    if original is None or original.pk is None:
        return {"managed": []}
    kind = KIND_OF[str(original._meta.model_name)]
    managed = list(ManagedObject.objects.filter(kind=kind, object_key=original.pk))
    if isinstance(original, Application):
        clients = original.clients.values_list("pk", flat=True)
        managed += ManagedObject.objects.filter(kind=CLIENT, object_key__in=list(clients))
    return {"managed": managed, "drifts": [_shown(drift) for drift in drifts(managed)]}


def _shown(drift: Drift) -> dict[str, Any]:
    return {"name": drift.managed.name, "keys": sorted(drift.keys)}
