"""Links in mails with which users lock their account."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from accounts.models.user import User


class LockLink(models.Model):
    """A link that locks one account, once. Only SHA-256 of its token is stored."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    token_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    email = models.EmailField()
    """The address that the mail was sent to."""

    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user_id} {timezone.localtime(self.created_at):%Y-%m-%d %H:%M}"
