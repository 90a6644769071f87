from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OpenidConfig(AppConfig):
    name = "openid"
    verbose_name = _("OpenID Connect")
