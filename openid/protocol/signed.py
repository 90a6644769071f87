"""Tokens that the provider signs: ID tokens (Core, section 2) and logout tokens (BCL, section 2.4).

Each kind has its own `typ`, so that neither is accepted as the other (8725, section 3.11). Access tokens and
refresh tokens are opaque. X-Ikd-Jwt is signed by its own keys.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import jwt

ALGORITHM = "RS256"
ID_TOKEN = "JWT"  # noqa: S105  (a media type)
LOGOUT_TOKEN = "logout+jwt"  # noqa: S105  (a media type)
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LONGEST_HINT = 8192


def sign(claims: Mapping[str, Any], typ: str, kid: str, private_key: Any) -> str:
    return jwt.encode(dict(claims), private_key, ALGORITHM, headers={"kid": kid, "typ": typ})


def access_token_hash(token: str) -> str:
    """Return at_hash (Core, section 3.1.3.6)."""
    digest = hashlib.sha256(token.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def claims_of_hint(token: str, public_keys: Mapping[str, Any], issuer: str) -> dict[str, Any] | None:
    """Return the claims of an ID token that this provider signed, even if expired, or None for anything else.

    The header cannot choose the algorithm: `none`, and HS256 keyed with the public key, are refused.
    """
    if not token or len(token) > LONGEST_HINT:
        return None
    try:
        header = jwt.get_unverified_header(token)
        key = public_keys[header["kid"]] if header.get("typ") == ID_TOKEN else None
        if key is None:
            return None
        return dict(
            jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=issuer,
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "require": ["iss", "sub", "aud", "iat", "sid"],
                },
            )
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return None


def logout_claims(issuer: str, audience: str, subject: str, sid: str, jti: str, now: int) -> dict[str, Any]:
    """Return the claims of a logout token. It never has a nonce (BCL, section 2.4)."""
    return {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "sid": sid,
        "iat": now,
        "exp": now + 120,
        "jti": jti,
        "events": {LOGOUT_EVENT: {}},
    }
