from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AuthgateConfig(AppConfig):
    name = "authgate"
    verbose_name = _("Protection")
