"""The search for the portal's migrations that the database lacks. It imports none of them."""

from __future__ import annotations

from inspect import getmodulename
from pathlib import Path

from django.apps import apps
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

OURS = ("authgate", "accounts", "openid", "ikd_portal")
"""The packages with migrations that must be applied."""


def missing() -> list[str]:
    """Return our migrations that the database lacks. Imports none of them."""
    applied = {f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations()}
    return [name for name in _shipped() if name not in applied]


def _shipped() -> list[str]:
    found = []
    for app in apps.get_app_configs():
        folder = Path(app.path) / "migrations"
        if app.name.partition(".")[0] in OURS and folder.is_dir():
            modules = filter(None, (getmodulename(each.name) for each in folder.iterdir()))
            found += [f"{app.label}.{name}" for name in modules if name[0].isdigit()]
    return sorted(found)
