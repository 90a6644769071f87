"""Client assertions: a client authenticates by a JWT that it signed (7523, section 3; Core, section 9)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jwt
from jwt.algorithms import RSAAlgorithm

from openid.protocol.errors import ProtocolError, invalid_client

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
LONGEST = 8192
LONGEST_JTI = 255
LONGEST_LIFE = 600
"""Seconds until an assertion may expire at most. Its `jti` has to be remembered for as long."""

LEEWAY = 30
MOST_KEYS = 10
LEAST_BITS = 2048
_PRIVATE = ("d", "k", "p", "q", "dp", "dq", "qi", "oth")


def wrong() -> ProtocolError:
    return invalid_client("the client assertion is not valid")


def client_in(assertion: str) -> str:
    """Return the client that an assertion names. It is not verified yet. Raises ProtocolError."""
    if len(assertion) > LONGEST:
        raise wrong()
    try:
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise wrong() from None
    client_id = claims.get("sub")
    if not isinstance(client_id, str) or not client_id or claims.get("iss") != client_id:
        raise wrong()
    return client_id


def key_id_in(assertion: str) -> str:
    """Return the `kid` of an assertion's header; "" without one."""
    try:
        found = jwt.get_unverified_header(assertion).get("kid", "")
    except (jwt.PyJWTError, ValueError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def keys_in(text: str) -> list[dict[str, Any]]:
    """Return the keys of a JWK set (7517). Raises ValueError with the name of the problem."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise ValueError("no keys")
    if len(keys) > MOST_KEYS:
        raise ValueError("many keys")
    if any(name in key for key in keys for name in _PRIVATE):
        raise ValueError("private key")
    return list(keys)


def verified_id(
    assertion: str, client_id: str, keys: Sequence[Mapping[str, Any]], audiences: Collection[str], now: float
) -> tuple[str, float]:
    """Return `jti` and `exp` of a client's valid assertion. Raises ProtocolError.

    The caller must refuse a `jti` that was used before.
    """
    try:
        header = jwt.get_unverified_header(assertion)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise wrong() from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise wrong()
    for key in keys[:MOST_KEYS]:
        if kid is not None and key.get("kid") != kid:
            continue
        claims = _claims(assertion, key, str(algorithm))
        if claims is not None:
            return _validated(claims, client_id, audiences, now)
    raise wrong()


def _claims(assertion: str, key: Mapping[str, Any], algorithm: str) -> dict[str, Any] | None:
    """Return the claims if this key signed them and they are current. The key's `use` and `alg` must fit."""
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        return None
    try:
        public = jwt.PyJWK(dict(key), algorithm=algorithm)
        if isinstance(public.Algorithm, RSAAlgorithm) and public.key.key_size < LEAST_BITS:
            return None
        options: Any = {"require": ["exp", "jti", "aud", "iss", "sub"], "verify_aud": False}
        return dict(jwt.decode(assertion, public, algorithms=[algorithm], leeway=LEEWAY, options=options))
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _validated(
    claims: Mapping[str, Any], client_id: str, audiences: Collection[str], now: float
) -> tuple[str, float]:
    audience = claims["aud"]
    named = audience if isinstance(audience, list) else [audience]
    is_for_us = len(named) == 1 and isinstance(named[0], str) and named[0] in audiences
    is_its_own = claims["iss"] == claims["sub"] == client_id
    jti, exp = claims["jti"], claims["exp"]
    is_time = isinstance(exp, int | float) and not isinstance(exp, bool)
    is_short = is_time and exp <= now + LONGEST_LIFE + LEEWAY
    is_named = isinstance(jti, str) and 0 < len(jti) <= LONGEST_JTI
    if not (is_for_us and is_its_own and is_short and is_named):
        raise wrong()
    return jti, float(exp)
