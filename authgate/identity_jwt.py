"""The header X-Ikd-Jwt and its keys. The portal signs the user, so applications need not trust their network.

A key is published before it signs and after it last signed, because applications cache the key set for
minutes.
"""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from authgate.encryption import Undecryptable
from authgate.models import SigningKey

log = logging.getLogger("ikd.security")

ALGORITHM = "ES256"
KEY_SET_MAX_AGE = 300
"""Seconds for which applications may cache the key set."""

PUBLISHED_BEFORE = timedelta(seconds=2 * KEY_SET_MAX_AGE)
PUBLISHED_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    signs_from: float
    private: ec.EllipticCurvePrivateKey


class Signer:
    """Signs with the newest key that may sign already. A signer without keys is false."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys = sorted(keys, key=lambda key: key.signs_from)

    def __bool__(self) -> bool:
        return bool(self.keys)

    def sign(self, claims: dict[str, Any], now: float) -> bytes:
        ready = [key for key in self.keys if key.signs_from <= now]
        key = ready[-1] if ready else self.keys[0]
        return jwt.encode(claims, key.private, ALGORITHM, headers={"kid": key.id}).encode("ascii")

    def key_set(self) -> dict[str, Any]:
        """Return the public keys as a JWK set (RFC 7517)."""
        return {"keys": [_public(key) for key in self.keys]}


def _public(key: Key) -> dict[str, Any]:
    found: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(key.private.public_key(), as_dict=True)
    return {**found, "kid": key.id, "use": "sig", "alg": ALGORITHM}


def load_signer() -> Signer:
    """Return a signer with all keys that can be decrypted. One query."""
    keys = []
    for row in SigningKey.objects.all():
        try:
            private = serialization.load_pem_private_key(row.private_key.reveal().encode(), None)
        except (
            Undecryptable,
            ValueError,
            TypeError,
        ):  # one bad key must not stop the change feed's reader
            log.error("the signing key %s cannot be read", row.kid)
            continue
        if isinstance(private, ec.EllipticCurvePrivateKey):
            keys.append(Key(row.kid, row.signs_from.timestamp(), private))
    return Signer(keys)


def signer_with_a_key() -> Signer:
    """Return a signer. If there is no key, create the first one."""
    signer = load_signer()
    if not signer:
        make_key(timezone.now())
        signer = load_signer()
    return signer


def make_key(signs_from: datetime) -> SigningKey:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kid = secrets.token_urlsafe(12)
    return SigningKey.objects.create(kid=kid, private_key=pem.decode(), signs_from=signs_from)


def rotate(*, at_once: bool = False) -> SigningKey:
    """Create a key, and delete keys that stopped signing long ago.

    The new key signs once every cached key set contains it. `at_once` is for a stolen key: the new key signs
    at once, and no other key is published.
    """
    now = timezone.now()
    with transaction.atomic():
        if at_once:
            SigningKey.objects.all().delete()
            return make_key(now)
        ready = SigningKey.objects.filter(signs_from__lte=now - PUBLISHED_AFTER).order_by("-signs_from")
        SigningKey.objects.filter(pk__in=[key.pk for key in ready[1:]]).delete()
        is_first = not SigningKey.objects.exists()
        return make_key(now if is_first else now + PUBLISHED_BEFORE)


@require_safe
def key_set(request: HttpRequest) -> HttpResponse:
    """Return the public keys as a JWK set, without a sign-in."""
    response = HttpResponse(json.dumps(load_signer().key_set()), content_type="application/jwk-set+json")
    response["Cache-Control"] = f"public, max-age={KEY_SET_MAX_AGE}"
    return response
