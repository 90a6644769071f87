"""The one-time link that creates the first administrator of an installation."""

from __future__ import annotations

import hashlib
import re
import secrets

from django.conf import settings
from django.core.cache import caches
from django.db.models import Q
from django.urls import reverse

from accounts.models import User

LIFETIME = 3600
"""Seconds."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def is_needed() -> bool:
    """Return whether no superuser can sign in. A superuser with a locked account can set a new password."""
    able = Q(is_active=True) | Q(locked_at__isnull=False)
    return not User.objects.filter(able, is_superuser=True).exists()


def make_link() -> str:
    """Return a link that creates one administrator. Store only a digest of its token."""
    token = secrets.token_urlsafe(32)
    caches["codes"].set(_key(token), 1, LIFETIME)
    return f"{settings.IKD_PORTAL_URL}{reverse('first_administrator', args=[token])}"


def is_valid(token: str) -> bool:
    return _TOKEN.fullmatch(token) is not None and caches["codes"].get(_key(token)) == 1 and is_needed()


def use(token: str) -> bool:
    """Use a link. Of several concurrent requests, return True to one."""
    return is_valid(token) and bool(caches["codes"].delete(_key(token)))


def _key(token: str) -> str:
    return f"first-administrator:{hashlib.sha256(token.encode()).hexdigest()}"
