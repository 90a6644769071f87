"""Groups with managers, who need not be staff."""

from __future__ import annotations

from django.contrib.auth.models import Group as DjangoGroup
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models.user import User


class ManagedGroup(models.Model):
    """A group with managers. They add and remove members while it is harmless (`delegation.groups`)."""

    group = models.OneToOneField(
        DjangoGroup,
        models.CASCADE,
        primary_key=True,
        related_name="managed_group",
        verbose_name=_("group"),
    )
    managers = models.ManyToManyField(User, related_name="+", verbose_name=_("managers"))

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.group)
