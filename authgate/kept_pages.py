"""Addresses that a sign-in needs and that are too long for a URL. The database keeps them for an hour.

Only a signed state names such an address, so its key is no secret. The two limits protect against a flood of
long addresses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from authgate.encryption import Undecryptable
from authgate.models import KeptPage
from authgate.network_limits import network_of

log = logging.getLogger("ikd.gate")

LONGEST = 11_264
"""Characters of an address: 8 KiB for the page, 2 KiB for the fragment, and the rest for the origin."""

KEPT_FOR = timedelta(hours=1)

PER_NETWORK = 500
IN_ALL = 10_000
"""Addresses kept at the same time, per client network and in total. The longest ones take about 150 MB."""


def keep(address: str, client: str | None) -> str | None:
    """Keep an address and return its key, or None if it is too long or a limit is reached.

    The same address from the same network is stored only once.
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
            remove_expired(now)
            if known is None and _is_full(network, now):
                return None
            values = {"network": network, "address": address, "expires_at": now + KEPT_FOR}
            KeptPage.objects.update_or_create(key=key, defaults=values)
    except DatabaseError:
        log.warning("an address could not be kept, so a sign-in leads to a shorter one")
        return None
    return key


def kept(key: str, *, only_of: str | None = None) -> str | None:
    """Return the address kept under a key; None if it has expired or is not from the network of `only_of`."""
    found = KeptPage.objects.filter(key=key, expires_at__gt=timezone.now()).first()
    if found is not None and only_of is not None and found.network != network_of(only_of):
        return None
    try:
        return found.address.reveal() if found else None
    except Undecryptable:
        return None


def remove_expired(now: datetime) -> int:
    """Delete up to 500 expired addresses, and return their number.

    Skip rows that another transaction is deleting.
    """
    with transaction.atomic():
        over = KeptPage.objects.select_for_update(skip_locked=True).filter(expires_at__lte=now)
        keys = list(over.values_list("pk", flat=True)[:500])
        KeptPage.objects.filter(pk__in=keys).delete()
    return len(keys)


def _is_full(network: str, now: datetime) -> bool:
    live = KeptPage.objects.filter(network=network, expires_at__gt=now)
    return live.count() >= PER_NETWORK or KeptPage.objects.count() >= IN_ALL


def _key(network: str, address: str) -> str:
    text = f"kept page:{network} {address}".encode()
    digest = hmac.digest(settings.SECRET_KEY.encode(), text, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
