"""Deletes objects that an earlier apply set and that the file no longer has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Count

from accounts.models import Upstream
from authgate.models import Application
from ikd_portal.configuration_file.changes import DELETED, Change, FieldChange
from ikd_portal.configuration_file.document import APPLICATION, CLIENT, GROUP, PROVIDER
from ikd_portal.configuration_file.names import Names
from ikd_portal.configuration_file.state import MODELS
from ikd_portal.models import ManagedObject

ORDER = (CLIENT, APPLICATION, PROVIDER, GROUP)
"""The order of deletion. Objects that refer to others come first."""


def prune(left: list[ManagedObject], names: Names, note: Callable[[int, str], None]) -> list[Change]:
    """Delete objects, and return the changes. It reports a group that is still in use as a problem."""
    changes = []
    for managed in sorted(left, key=lambda each: (ORDER.index(each.kind), each.name)):
        row: Any = MODELS[managed.kind]._default_manager.filter(pk=managed.object_key).first()
        managed.delete()
        if row is None:
            continue
        if managed.kind == GROUP and not _can_delete(row, names, note):
            continue
        change = Change(DELETED, managed.kind, managed.name, row, row.pk)
        if isinstance(row, Upstream):
            change.fields += _lost_by_deleting(row)
        row.delete()
        changes.append(change)
    return changes


def _can_delete(group: Any, names: Names, note: Callable[[int, str], None]) -> bool:
    if group.name in names.groups_found:
        note(
            names.groups_found[group.name],
            f"The group {group.name!r} would be deleted, because it is not under `groups`.",
        )
        return False
    # An application without named groups would receive all groups of its users.
    named = Application.objects.filter(named_groups=group.pk).values("pk")
    alone = Application.objects.annotate(many=Count("named_groups")).filter(pk__in=named, many=1)
    for application in alone:
        note(1, f"{application} receives only the group {group.name!r}. Change named_groups there first.")
    return not alone


def _lost_by_deleting(upstream: Upstream) -> list[FieldChange]:
    sign_ins = upstream.sessions.filter(sign_in__ended_at=None).count()
    lost = {"links to users": upstream.identities.count(), "open sign-ins": sign_ins}
    return [FieldChange(name, name, count, 0) for name, count in lost.items() if count]
