"""Links that create accounts."""

from __future__ import annotations

from django.contrib.auth.models import Group as DjangoGroup
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.user import User


class Invitation(models.Model):
    """A link that creates one account. Only SHA-256 of its token is stored."""

    token_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    email = models.EmailField(
        _("e-mail address"),
        blank=True,
        help_text=_(
            "The portal sends the link to this address and marks it as confirmed. If empty, you "
            "copy the link yourself."
        ),
    )
    groups = models.ManyToManyField(DjangoGroup, blank=True, related_name="+", verbose_name=_("groups"))
    made_by = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="invitations", verbose_name=_("created by")
    )
    by_superuser = models.BooleanField(_("created by a superuser"), default=False, editable=False)
    is_by_oneself = models.BooleanField(_("by registering"), default=False, editable=False)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"))
    used_at = models.DateTimeField(_("used"), null=True, blank=True)
    used_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("used by")
    )

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.email or f"{timezone.localtime(self.created_at):%Y-%m-%d %H:%M}"
