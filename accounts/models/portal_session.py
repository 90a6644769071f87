"""Django's sessions, stored under digests."""

from __future__ import annotations

from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils.translation import gettext_lazy as _


class PortalSession(AbstractBaseSession):
    """Django's session under SHA-256 of its key, so a reader of the table gains no session."""

    # Longer than Django's field: a digest has 64 hexadecimal digits. Only PostgreSQL enforces the length.
    session_key = models.CharField(_("session key"), max_length=64, primary_key=True)

    class Meta:
        verbose_name = _("portal session")
        verbose_name_plural = _("portal sessions")
