"""Links in mails about an account, with which its user can lock it. They give no access."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from accounts.models import LockLink

LIFETIME = timedelta(days=1)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def new_link(user_id: int, email: str) -> str:
    """Create a link for a mail to `email`, and return its URL. Delete expired links of all users."""
    token, now = secrets.token_urlsafe(32), timezone.now()
    LockLink.objects.filter(expires_at__lte=now).delete()
    LockLink.objects.create(
        user_id=user_id,
        token_digest=_digest(token),
        email=email,
        created_at=now,
        expires_at=now + LIFETIME,
    )
    return f"{settings.IKD_PORTAL_URL}{reverse('lock_account', args=[token])}"


def link_of(token: str) -> LockLink | None:
    """Return the live link of a token, with its user, or None."""
    if _TOKEN.fullmatch(token) is None:
        return None
    found = LockLink.objects.filter(token_digest=_digest(token), used_at=None, expires_at__gt=timezone.now())
    return found.select_related("user").first()


def use(link: LockLink) -> bool:
    """Use a link. Of several concurrent requests, return True to one."""
    now = timezone.now()
    return bool(LockLink.objects.filter(pk=link.pk, used_at=None, expires_at__gt=now).update(used_at=now))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
