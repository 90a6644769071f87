"""Keys of clients that authenticate by assertions: pasted, or fetched from the client's `jwks_uri`."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from typing import Any

from django.conf import settings
from django.core.cache import cache, caches
from django.urls import reverse

from accounts.upstreams.errors import ProviderError
from accounts.upstreams.http_client import fetch
from openid.protocol import assertions
from openid.protocol.errors import invalid_client
from openid.standing import ClientFacts

log = logging.getLogger("ikd.openid")

KEPT_FOR = 300
"""Seconds for which fetched keys are cached."""

REFETCH_AFTER = 30
"""Seconds between two fetches of one client's keys. Unknown key IDs in requests do not shorten it."""


def require_assertion(client: ClientFacts, assertion: str) -> None:
    """Raise ProtocolError unless the client signed this assertion. An assertion is accepted once."""
    issuer = settings.IKD_PORTAL_ORIGIN
    audiences = (issuer, f"{issuer}{reverse('openid_token')}")
    keys, now = _keys(client, assertions.key_id_in(assertion)), time.time()
    jti, until = assertions.verified_id(assertion, client.client_id, keys, audiences, now)
    # Stored only after the signature is verified, so strangers cannot fill the cache. If the cache fails, the
    # call fails too.
    seen = hashlib.sha256(json.dumps([client.client_id, jti]).encode()).hexdigest()
    if not caches["codes"].add(f"openid-jti:{seen}", 1, int(until - now) + assertions.LEEWAY + 1):
        raise invalid_client("the client assertion was used before")


def _keys(client: ClientFacts, key_id: str) -> list[dict[str, Any]]:
    if client.jwks:
        return assertions.keys_in(client.jwks)
    name = f"openid-keys:{client.pk}:{hashlib.sha256(client.jwks_uri.encode()).hexdigest()}"
    kept: list[dict[str, Any]] = cache.get(name) or []
    is_known = bool(kept) and (not key_id or any(key.get("kid") == key_id for key in kept))
    if is_known or not cache.add(f"{name}:asked", 1, REFETCH_AFTER):
        return kept
    try:
        fetched = _fetched(client)
    except (ProviderError, ValueError) as error:
        log.warning("the keys of the client %s cannot be fetched: %s", client.client_id, error)
        return kept
    cache.set(name, fetched, KEPT_FOR)
    return fetched


def _fetched(client: ClientFacts) -> list[dict[str, Any]]:
    """Fetch a client's keys within the limits for provider requests. Raises ProviderError and ValueError."""
    found = fetch(client.jwks_uri, allow_private=client.allow_private)
    if found.status != 200:
        raise ValueError(f"status {found.status}")
    return assertions.keys_in(json.dumps(found.json()))
