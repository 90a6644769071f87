from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.backends.signals import connection_created
from django.db.models.signals import post_delete, post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _


class AuthgateConfig(AppConfig):
    name = "authgate"
    verbose_name = _("Protection")

    def ready(self) -> None:
        from authgate import checks  # noqa: F401
        from authgate.journal import actor
        from authgate.journal import triggers as journal_triggers
        from authgate.usage import requests
        from authgate.worker import stale_connections, triggers

        stale_connections.watch()
        connection_created.connect(actor.watch)
        for each in (triggers, journal_triggers):
            pre_migrate.connect(_on_pre_migrate(each.drop_before_migration), sender=self, weak=False)
            post_migrate.connect(_on_post_migrate(each.install), sender=self, weak=False)
        post_delete.connect(
            lambda instance, **_: requests.forget_person(instance.pk),
            sender=settings.AUTH_USER_MODEL,
            weak=False,
        )


def _on_pre_migrate(drop_before_migration: Callable[[str, Any], None]) -> Callable[..., None]:
    return lambda using, plan, **_: drop_before_migration(using, plan)


def _on_post_migrate(install: Callable[[str], None]) -> Callable[..., None]:
    return lambda using, **_: install(using)
