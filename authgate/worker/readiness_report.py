"""The state of each part of a process, for operators who send IKD_METRICS_TOKEN to `/readyz`."""

from __future__ import annotations

from collections.abc import Callable

from django.apps import apps
from django.db import connection

from authgate.encryption import EncryptedField, Secret, Undecryptable
from authgate.worker import database_timeout, feed, migrations, readiness, triggers

OK = "ok"


def report() -> str:
    """Return a line for each part of this process on which `/readyz` depends."""
    with database_timeout.limited_to(readiness.DATABASE_TIMEOUT):
        return "".join(f"{name}: {_state_of(part)}\n" for name, part in PARTS.items())


def _state_of(part: Callable[[], str]) -> str:
    try:
        return part()
    except Exception as error:
        return readiness.words_for(error)


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return OK


def _writing() -> str:
    return readiness.last_write() or OK


def _memory() -> str:
    if feed.current is None:
        return "this process holds none"
    return readiness.stale_memory() or OK


def _triggers() -> str:
    lacking = triggers.missing()
    return f"run migrate, these are missing: {', '.join(sorted(lacking))}" if lacking else OK


def _migrations() -> str:
    lacking = migrations.missing()
    return f"run migrate, these are missing: {', '.join(lacking)}" if lacking else OK


def _keys() -> str:
    """Decrypt the newest secret of each kind. Return the first that no key fits, or OK."""
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if isinstance(field, EncryptedField):
                rows = model._default_manager.exclude(**{field.name: ""}).order_by("-pk")
                secret = rows.values_list(field.name, flat=True).first()
                try:
                    if isinstance(secret, Secret):
                        secret.reveal()
                except Undecryptable as error:
                    return f"{model._meta.label_lower}.{field.name}: {error}"
    return OK


PARTS: dict[str, Callable[[], str]] = {
    "database": _database,
    "writing": _writing,
    "memory": _memory,
    "triggers": _triggers,
    "migrations": _migrations,
    "keys": _keys,
}
