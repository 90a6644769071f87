"""What a machine's credential stands for, asked of the database where memory does not know it."""

from __future__ import annotations

from typing import Any

import jwt

from accounts.upstreams.machine_keys import ALGORITHMS, Unreachable, machine_keys
from accounts.upstreams.models import LONGEST_SUBJECT, Identity, Upstream
from authgate import loading
from authgate.contracts import RequestHeaders
from authgate.credentials import TOKEN_KIND, credential_in, issuer_of
from authgate.memory import Machine, Memory, Unknown
from authgate.second_factor import lacks_factor

LEEWAY = 30
"""Seconds by which the clocks of an upstream and ours may differ."""

KNOWN = frozenset(name for names in ALGORITHMS.values() for name in names)
REQUIRED = ["iss", "aud", "sub", "exp", "iat"]


def machine_of(key: bytes, headers: RequestHeaders, memory: Memory) -> tuple[Machine | None, bool]:
    """Give what the credential of that key stands for, and whether memory may keep the answer."""
    if key[:1] == TOKEN_KIND:
        return loading.load_tokens([key[1:]]).get(key[1:]), True
    issuers = loading.load_issuers() if isinstance(memory.issuers, Unknown) else memory.issuers
    credential = credential_in(headers, issuers)
    if credential is None or credential.key != key or not credential.jwt:
        return None, False
    try:
        return _of_jwt(credential.jwt), True
    except (Unreachable, jwt.ImmatureSignatureError):
        return None, False  # what is not so now may be so in a moment


def _of_jwt(token: bytes) -> Machine | None:
    """Verify a JWT of a trusted upstream (RFC 8725), and give whom the upstream's subject is linked to."""
    issuer = issuer_of(token) or ""
    for upstream in loading.trusted_upstreams().filter(issuer=issuer):
        claims = _verified(token, upstream)
        if claims is not None:
            return _of_subject(upstream, claims)
    return None


def _verified(token: bytes, upstream: Upstream) -> dict[str, Any] | None:
    """Give a token's claims if all is as it must be. Raises Unreachable and ImmatureSignatureError."""
    try:
        header = jwt.get_unverified_header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in KNOWN or not isinstance(kid, str | None):
            return None
        key = machine_keys.key_for(upstream, kid, algorithm)
        claims = dict(
            jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                issuer=upstream.issuer,
                audience=upstream.machine_audience,
                leeway=LEEWAY,
                options={"require": REQUIRED},
            )
        )
        # A token that tells of an event, such as a logout, was made to open nothing.
        return None if "events" in claims else claims
    except jwt.ImmatureSignatureError:
        raise
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
        return None


def _of_subject(upstream: Upstream, claims: dict[str, Any]) -> Machine | None:
    """Give the user linked to a subject, unless they owe a second factor.

    Never one of the same name or address, and none is made.
    """
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        return None
    identity = (
        Identity.objects.select_related("user")
        .filter(upstream=upstream, subject=subject, user__is_active=True)
        .exclude(lacks_factor("user"))
        .first()
    )
    if identity is None or identity.subject != subject:
        return None
    return Machine(
        origin="",
        sign_in_id=None,
        subject=loading.subject_of(identity.user),
        expires_at=float(claims["exp"]) + LEEWAY,
        idle_at=float("inf"),
    )
