"""Judging signed tokens of a provider: pure, from a token, keys and the time to claims or a refusal."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from accounts.upstreams.trouble import Trouble

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Signatures with a key that only the provider has. Never HS*: the portal's database has that key too."""

LEEWAY = 60
"""Seconds that the provider's clock may differ."""

LONGEST = 16 * 1024
LONGEST_SUBJECT = 255
SMALLEST_RSA = 2048

ID_TOKEN = ("JWT",)
LOGOUT_TOKEN = ("LOGOUT+JWT", "JWT")
"""Values of `typ` in a token's header (RFC 8725, section 3.11; Back-Channel Logout 1.0, section 2.4)."""

_KTY = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
_CURVES = {"ES256": ("P-256",), "EdDSA": ("Ed25519", "Ed448")}


@dataclass(frozen=True, slots=True)
class Header:
    algorithm: str
    key_id: str | None


def header_of(token: Any, algorithms: Iterable[str], kinds: Iterable[str] = ID_TOKEN) -> Header:
    """Read what key a token asks for. Raises Trouble where no key of a provider could have signed it so."""
    if not isinstance(token, str) or not token or len(token) > LONGEST:
        raise Trouble("the provider sent no ID token, or one of an absurd length")
    try:
        found = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Trouble("the ID token cannot be read") from None
    algorithm, key_id = found.get("alg"), found.get("kid")
    if algorithm not in ALGORITHMS or algorithm not in algorithms:
        raise Trouble("the ID token is signed in a way that is not accepted")
    if "crit" in found or str(found.get("typ", "JWT")).upper() not in kinds:
        raise Trouble("the ID token is of another kind")
    if key_id is not None and not isinstance(key_id, str):
        raise Trouble("the ID token's key id is no text")
    return Header(algorithm, key_id)


def matching_key(header: Header, keys: Sequence[Mapping[str, Any]]) -> jwt.PyJWK | None:
    """Give the key that a token asks for; None where there is none, or no telling which of several."""
    fitting = [key for key in keys if _fits(key, header)]
    if header.key_id is not None:
        fitting = [key for key in fitting if key.get("kid") == header.key_id]
    if len(fitting) != 1:
        return None
    try:
        key = jwt.PyJWK(dict(fitting[0]), algorithm=header.algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return None if getattr(key.key, "key_size", SMALLEST_RSA) < SMALLEST_RSA and _is_rsa(header) else key


def _is_rsa(header: Header) -> bool:
    return _KTY[header.algorithm] == "RSA"


def is_for_signatures(key: Mapping[str, Any]) -> bool:
    """Tell whether a published key may verify one (RFC 7517, sections 4.2 and 4.3)."""
    operations = key.get("key_ops", ["verify"])
    return key.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _fits(key: Mapping[str, Any], header: Header) -> bool:
    curves = _CURVES.get(header.algorithm)
    return (
        key.get("kty") == _KTY[header.algorithm]
        and is_for_signatures(key)
        and key.get("alg", header.algorithm) == header.algorithm
        and (curves is None or key.get("crv") in curves)
    )


def judged(
    token: str,
    key: jwt.PyJWK,
    header: Header,
    *,
    issuer: str,
    audience: str,
    required: Sequence[str] = ("exp", "iat", "iss", "aud", "sub"),
) -> dict[str, Any]:
    """Give the claims of a token that this issuer made for this audience. Raises Trouble."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[header.algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": list(required)},
        )
    except jwt.PyJWTError as error:
        raise Trouble(_REASONS.get(type(error), "the ID token is not valid")) from None
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Trouble("the ID token is not valid") from None
    if not all(_is_time(claims[name]) for name in ("exp", "iat", "nbf") if name in claims):
        raise Trouble("the ID token has a time that is none")
    subject = claims.get("sub", "")
    if "sub" in required and (not isinstance(subject, str) or not _is_subject(subject)):
        raise Trouble("the ID token has no usable subject")
    return claims


_REASONS: dict[type, str] = {
    jwt.ExpiredSignatureError: "the ID token has expired: compare the clocks",
    jwt.ImmatureSignatureError: "the ID token is from the future: compare the clocks",
    jwt.InvalidAudienceError: "the ID token is for another client",
    jwt.InvalidIssuerError: "the ID token is of another issuer",
    jwt.InvalidSignatureError: "the ID token's signature is wrong",
    jwt.MissingRequiredClaimError: "the ID token lacks a claim that it must have",
}


def _is_time(value: Any) -> bool:
    """Tell whether a claim is a NumericDate (RFC 7519, section 2): PyJWT takes a number in a text, too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_subject(text: str) -> bool:
    return 0 < len(text) <= LONGEST_SUBJECT and text.isprintable()


def judge_for_sign_in(
    claims: Mapping[str, Any],
    header: Header,
    *,
    client_id: str,
    nonce: str,
    access_token: str | None,
    authenticated_since: float | None = None,
) -> None:
    """Judge what OpenID Connect Core asks besides, sections 3.1.3.7 and 3.1.3.8. Raises Trouble.

    `authenticated_since` is Unix time: the person must have proved who they are no earlier.
    """
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise Trouble("the ID token belongs to another attempt (nonce)")
    if "events" in claims:
        raise Trouble("the ID token is of another kind")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise Trouble("the ID token was made for another client (azp)")
    if "at_hash" in claims and (not access_token or claims["at_hash"] != _at_hash(access_token, header)):
        raise Trouble("the access token does not belong to the ID token (at_hash)")
    if authenticated_since is not None:
        at: Any = claims.get("auth_time")
        if not _is_time(at) or at < authenticated_since - LEEWAY:
            raise Trouble("the provider did not ask the person again (auth_time)")


def _at_hash(access_token: str, header: Header) -> str:
    digest = hashlib.sha512 if header.algorithm == "EdDSA" else hashlib.sha256
    hashed = digest(access_token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(hashed[: len(hashed) // 2]).rstrip(b"=").decode()
