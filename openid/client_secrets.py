"""Secrets of confidential clients: 256 random bits, shown once, kept as SHA-256."""

from __future__ import annotations

import secrets

from django.db import transaction

from openid.grants import digest
from openid.models import Client, ClientSecret

LIVE_SECRETS = 2
"""Secrets of a client at once, so that one is replaced without an outage."""


def new_secret(client: Client) -> str:
    """Create a secret and return it; "" if the client has as many as it may."""
    with transaction.atomic():
        # Locked, so that two administrators at once do not create a third.
        Client.objects.select_for_update().get(pk=client.pk)
        if ClientSecret.objects.filter(client=client).count() >= LIVE_SECRETS:
            return ""
        secret = secrets.token_urlsafe(32)
        ClientSecret.objects.create(client=client, digest=digest(secret))
    return secret
