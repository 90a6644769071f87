"""Addresses that travel through a sign-in and fit into no URL, kept in the database for an hour.

Only a signed state names one, so its key is no secret. Both bounds hold against a flood of long addresses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts.throttle import network_of
from accounts.upstreams.encryption import Undecryptable
from authgate.models import KeptPage

log = logging.getLogger("ikd.gate")

LONGEST = 11_264
"""Characters of an address: 8 KiB of page, 2 KiB of fragment, and the origin before them."""

KEPT_FOR = timedelta(hours=1)

PER_NETWORK = 500
IN_ALL = 10_000
"""Addresses kept at once, of one client network and together: about 150 MB at their longest."""


def keep(address: str, client: str | None) -> str | None:
    """Return the key under which an address is kept, or None if it cannot be.

    The same address of the same network is kept once, however often it is asked for.
    """
    if len(address) > LONGEST or not address.isascii():
        return None
    network, now = network_of(client or None), timezone.now()
    key = _key(network, address)
    try:
        with transaction.atomic():
            known = KeptPage.objects.filter(key=key).values_list("expires_at", flat=True).first()
            if known is not None and known > now + KEPT_FOR / 2:
                return key
            KeptPage.objects.filter(expires_at__lte=now).delete()
            if known is None and _is_full(network):
                return None
            values = {"network": network, "address": address, "expires_at": now + KEPT_FOR}
            KeptPage.objects.update_or_create(key=key, defaults=values)
    except DatabaseError:
        log.warning("an address could not be kept, so a sign-in leads to a shorter one")
        return None
    return key


def kept(key: str) -> str | None:
    """Return the address kept under a key, or None after its hour."""
    found = KeptPage.objects.filter(key=key, expires_at__gt=timezone.now()).first() if key else None
    try:
        return found.address.reveal() if found else None
    except Undecryptable:
        return None


def _is_full(network: str) -> bool:
    return (
        KeptPage.objects.filter(network=network).count() >= PER_NETWORK or KeptPage.objects.count() >= IN_ALL
    )


def _key(network: str, address: str) -> str:
    text = f"kept page:{network} {address}".encode()
    digest = hmac.digest(settings.SECRET_KEY.encode(), text, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
