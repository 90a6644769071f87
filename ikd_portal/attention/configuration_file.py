"""Objects of a configuration file that were changed by hand, for the admin's first page."""

from __future__ import annotations

from collections.abc import Callable

from django.urls import reverse
from django.utils.translation import gettext as _

from ikd_portal.attention.matter import NAMED, Matter, named
from ikd_portal.configuration_file.document import APPLICATION, CLIENT, GROUP, PROVIDER
from ikd_portal.configuration_file.managed import drifts
from ikd_portal.models import ManagedObject

MAX_CHECKED = 200
"""Managed objects of each kind that are compared at most, those with the oldest apply first."""


def _changed_by_hand(kinds: tuple[str, ...], changelist: str) -> Matter | None:
    managed = list(ManagedObject.objects.filter(kind__in=kinds).order_by("applied_at", "pk")[:MAX_CHECKED])
    names = sorted(drift.managed.name for drift in drifts(managed))
    if not names:
        return None
    advice = _(
        "They differ from the configuration file that was applied: %s. The next apply sets them back. Change "
        "the file instead."
    )
    return Matter(
        _("Changed by hand"), advice % named(names[: NAMED + 1]), reverse(f"admin:{changelist}_changelist")
    )


def _applications() -> Matter | None:
    return _changed_by_hand((APPLICATION, CLIENT), "authgate_application")


def _groups() -> Matter | None:
    return _changed_by_hand((GROUP,), "accounts_group")


def _providers() -> Matter | None:
    return _changed_by_hand((PROVIDER,), "accounts_upstream")


LOOKS: tuple[tuple[str, Callable[[], Matter | None]], ...] = (
    ("authgate.view_application", _applications),
    ("accounts.view_group", _groups),
    ("accounts.view_upstream", _providers),
)
"""Pairs: the permission to see a matter, and the function that looks for it."""
