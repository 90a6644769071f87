from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _


class OpenidConfig(AppConfig):
    name = "openid"
    verbose_name = _("OpenID Connect")

    def ready(self) -> None:
        from accounts.lockdown import ending
        from openid import triggers
        from openid.lockdowns import end_grants

        ending.connect(end_grants, dispatch_uid="end grants")

        pre_migrate.connect(
            lambda using, plan, **_: triggers.drop_before_migration(using, plan), sender=self, weak=False
        )
        post_migrate.connect(lambda using, **_: triggers.install(using), sender=self, weak=False)
