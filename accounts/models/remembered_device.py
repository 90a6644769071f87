"""Browsers that need no second factor for a while."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models.user import User


class RememberedDevice(models.Model):
    """A browser on which a user needs no second factor, until the row expires or the user removes it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="remembered_devices", verbose_name=_("user"))
    token_digest = models.BinaryField(max_length=32, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    user_agent = models.CharField(_("browser"), max_length=300, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"))
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)

    class Meta:
        verbose_name = _("remembered device")
        verbose_name_plural = _("remembered devices")
        constraints = [
            models.UniqueConstraint(fields=["token_digest", "user"], name="device_of_a_person_once")
        ]

    def __str__(self) -> str:
        return self.user_agent
