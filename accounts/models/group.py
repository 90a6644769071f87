"""Groups, and which of them require a second factor."""

from __future__ import annotations

from django.contrib.auth.models import Group as DjangoGroup
from django.db import models
from django.utils.translation import gettext_lazy as _


class Group(DjangoGroup):
    """Django's group, listed in the admin together with the users."""

    class Meta:
        proxy = True
        verbose_name = _("group")
        verbose_name_plural = _("groups")


class StrictGroup(models.Model):
    """A group. Its members need a second factor for every application."""

    group = models.OneToOneField(
        DjangoGroup,
        models.CASCADE,
        primary_key=True,
        related_name="strict_group",
        verbose_name=_("group"),
    )

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.group)
