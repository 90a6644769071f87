"""Secrets of confidential clients: 256 random bits, shown once, stored as SHA-256."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from openid.grants import digest
from openid.models import Client, ClientSecret

LIVE_SECRETS = 2
"""Valid secrets of one client at most. Two let an administrator replace one without an outage."""


def new_secret(client: Client, days: int | None = None) -> str:
    """Create a secret and return it; "" if the client already has the maximum number.

    The secret expires after `days`, or never if `days` is None. Expired secrets are deleted first.
    """
    now = timezone.now()
    with transaction.atomic():
        # The lock keeps two administrators from creating a third secret at the same time.
        Client.objects.select_for_update().get(pk=client.pk)
        ClientSecret.objects.filter(client=client, expires_at__lte=now).delete()
        if ClientSecret.objects.filter(client=client).count() >= LIVE_SECRETS:
            return ""
        secret = secrets.token_urlsafe(32)
        expires_at = now + timedelta(days=days) if days else None
        ClientSecret.objects.create(client=client, digest=digest(secret), expires_at=expires_at)
    return secret
