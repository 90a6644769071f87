from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import pre_migrate


class PortalConfig(AppConfig):
    name = "ikd_portal"

    def ready(self) -> None:
        from ikd_portal import checks, doctor  # noqa: F401
        from ikd_portal.tidy import sqlite

        doctor.register()
        # Connect to every sender, because Django sends this signal only for apps with models.
        pre_migrate.connect(lambda using, **_: sqlite.choose_vacuum(using), weak=False)


class PortalAdminConfig(AdminConfig):
    default_site = "ikd_portal.admin_site.PortalAdminSite"
