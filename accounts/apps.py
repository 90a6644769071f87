from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("People")

    def ready(self) -> None:
        from accounts import checks, signals  # noqa: F401
        from accounts.directory import Directory
        from accounts.second_factor import events  # noqa: F401
        from authgate import people

        people.register(Directory())
