"""The provider's signing keys. A key is published before it first signs, and long after it last did."""

from __future__ import annotations

import logging
import secrets
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db import transaction
from django.utils import timezone

from authgate.encryption import Secret, Undecryptable
from openid.models import ProviderKey
from openid.protocol import signed

log = logging.getLogger("ikd.security")

KEY_SET_MAX_AGE = 300
"""Seconds for which a client may cache the key set."""

PUBLISHED_BEFORE = timedelta(seconds=2 * KEY_SET_MAX_AGE)
PUBLISHED_AFTER = timedelta(days=30)
"""How long a key that no longer signs stays published. An id_token_hint at sign-out may be that old."""

Keys = dict[str, tuple[datetime, rsa.RSAPrivateKey]]


def load() -> Keys:
    """Return the readable keys in the order in which they sign. One query."""
    found: Keys = {}
    for row in ProviderKey.objects.all():
        try:
            private = _parsed(row.private_key.token)
        except (Undecryptable, ValueError, TypeError):
            log.error("the provider's key %s cannot be read", row.kid)
            continue
        found[row.kid] = (row.signs_from, private)
    return found


@lru_cache(maxsize=16)
def _parsed(token: str) -> rsa.RSAPrivateKey:
    private = serialization.load_pem_private_key(Secret(token).reveal().encode(), None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise TypeError("no RSA key")
    return private


def load_or_create() -> Keys:
    """Return the keys. Create the first one if there is none."""
    found = load()
    if not found:
        create(timezone.now())
        found = load()
    return found


def create(signs_from: datetime) -> ProviderKey:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kid = secrets.token_urlsafe(12)
    return ProviderKey.objects.create(kid=kid, private_key=pem.decode(), signs_from=signs_from)


def rotate(*, at_once: bool = False) -> ProviderKey:
    """Create a key that signs once every client can have fetched it. Delete keys that retired long ago.

    Use `at_once` if an attacker may have a key: the new key signs immediately, and all others are deleted.
    """
    now = timezone.now()
    with transaction.atomic():
        if at_once:
            ProviderKey.objects.all().delete()
            return create(now)
        ready = ProviderKey.objects.filter(signs_from__lte=now - PUBLISHED_AFTER).order_by("-signs_from")
        ProviderKey.objects.filter(pk__in=[key.pk for key in ready[1:]]).delete()
        is_first = not ProviderKey.objects.exists()
        return create(now if is_first else now + PUBLISHED_BEFORE)


def sign(claims: dict[str, Any], typ: str, keys: Keys | None = None) -> str:
    """Return a signed token of the type `typ`. The newest key that is due to sign is used.

    `keys` are those that a process holds in memory. Without them: one query.
    """
    now, keys = timezone.now(), keys or load_or_create()
    ready = [kid for kid, (signs_from, _) in keys.items() if signs_from <= now]
    kid = ready[-1] if ready else next(iter(keys))
    return signed.sign(claims, typ, kid, keys[kid][1])


def public_keys() -> dict[str, rsa.RSAPublicKey]:
    return {kid: private.public_key() for kid, (_, private) in load().items()}


def key_set() -> dict[str, Any]:
    """Return the public keys as a JWK set (RFC 7517)."""
    return {"keys": [_public(kid, private) for kid, (_, private) in load_or_create().items()]}


def _public(kid: str, private: rsa.RSAPrivateKey) -> dict[str, Any]:
    found: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return {
        "kty": found["kty"],
        "n": found["n"],
        "e": found["e"],
        "kid": kid,
        "use": "sig",
        "alg": signed.ALGORITHM,
    }
