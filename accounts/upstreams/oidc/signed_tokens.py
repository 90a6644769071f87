"""Verification of every token that a provider signs, as pure functions of token, keys and time.

The same function verifies ID tokens, logout tokens, signed userinfo responses and programs' JWTs. Their
differences are in `TokenKind`. So the portal accepts no token of one kind as another (RFC 8725, sections 3.11
and 3.12).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from accounts.upstreams.claim_texts import identifier, is_identifier
from accounts.upstreams.claim_times import is_time
from accounts.upstreams.errors import ProviderError

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Signature algorithms with a key that only the provider has. Not HS*: the portal has that key, too."""

LEEWAY = 60
"""Seconds by which the provider's clock may differ."""

LONGEST = 16 * 1024
SMALLEST_RSA = 2048

_KTY = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
_CURVES = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
}


@dataclass(frozen=True, slots=True)
class TokenKind:
    """The requirements of one kind of token. `types` are values of `typ` in its header, in capitals."""

    name: str
    types: tuple[str, ...] = ("JWT",)
    algorithms: tuple[str, ...] = ALGORITHMS
    required: tuple[str, ...] = ("exp", "iat", "iss", "aud", "sub")
    forbidden: tuple[str, ...] = ("events",)
    leeway: int = LEEWAY


ID_TOKEN = TokenKind("ID token")
USERINFO = TokenKind("userinfo answer", required=("iss", "aud", "sub"))
LOGOUT_TOKEN = TokenKind(
    "logout token",
    types=("LOGOUT+JWT", "JWT"),
    required=("iss", "aud", "iat", "exp", "jti", "events"),
    forbidden=("nonce",),
)
"""Back-Channel Logout 1.0, section 2.4."""

PROGRAM_TOKEN = TokenKind(
    "token",
    types=("AT+JWT", "APPLICATION/AT+JWT", "JWT"),
    algorithms=tuple(_KTY),
    # Claims of logout tokens and other events, of ID tokens, and of tokens that are bound to a key or a
    # certificate (RFC 8705, RFC 9449). A bearer token cannot prove that its sender has that key.
    forbidden=("events", "nonce", "at_hash", "c_hash", "s_hash", "cnf"),
    leeway=30,
)
"""An access token that a program sends (RFC 9068, RFC 6750)."""

_NO_ACCESS_TOKENS = frozenset(("id", "id_token", "refresh", "refresh_token", "offline", "logout", "dpop"))
"""Values of the claims `typ` (Keycloak) or `token_use` (Cognito) in tokens of other kinds."""


class UnknownKey(ProviderError):
    """The signature is from no known key. The provider may have newer keys."""


class NotYetValid(ProviderError):
    """The token is not valid yet."""


@dataclass(frozen=True, slots=True)
class Header:
    algorithm: str
    key_id: str | None


def header_of(token: Any, algorithms: Iterable[str], kind: TokenKind = ID_TOKEN) -> Header:
    """Return the algorithm and the key id of a token.

    Raises ProviderError if the provider cannot have signed the token.
    """
    if not isinstance(token, str) or not token or not token.isascii() or len(token) > LONGEST:
        raise ProviderError(f"the provider sent no {kind.name}, or one of an absurd length")
    try:
        found = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise ProviderError(f"the {kind.name} cannot be read") from None
    algorithm, key_id = found.get("alg"), found.get("kid")
    if not isinstance(algorithm, str) or algorithm not in kind.algorithms or algorithm not in algorithms:
        raise ProviderError(f"the {kind.name} is signed in a way that is not accepted")
    if "crit" in found or str(found.get("typ", "JWT")).upper() not in kind.types:
        raise ProviderError(f"the {kind.name} is of another kind")
    if key_id is not None and not isinstance(key_id, str):
        raise ProviderError(f"the {kind.name} has a key id that is no text")
    return Header(algorithm, key_id)


def matching_key(header: Header, keys: Sequence[Mapping[str, Any]]) -> jwt.PyJWK | None:
    """Return the key that a header names, or None if no key or several match."""
    fitting = [key for key in keys if _fits(key, header)]
    if header.key_id is not None:
        fitting = [key for key in fitting if key.get("kid") == header.key_id]
    if len(fitting) != 1:
        return None
    try:
        key = jwt.PyJWK(dict(fitting[0]), algorithm=header.algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return None if getattr(key.key, "key_size", SMALLEST_RSA) < SMALLEST_RSA and _is_rsa(header) else key


def _is_rsa(header: Header) -> bool:
    return _KTY[header.algorithm] == "RSA"


def _is_for_signatures(key: Mapping[str, Any]) -> bool:
    """Return whether a published key is for signatures (RFC 7517, sections 4.2 and 4.3)."""
    operations = key.get("key_ops", ["verify"])
    return key.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _fits(key: Mapping[str, Any], header: Header) -> bool:
    curves = _CURVES.get(header.algorithm)
    return (
        key.get("kty") == _KTY[header.algorithm]
        and _is_for_signatures(key)
        and key.get("alg", header.algorithm) == header.algorithm
        and (curves is None or key.get("crv") in curves)
    )


def verify_claims(
    token: str,
    header: Header,
    keys: Sequence[Mapping[str, Any]],
    kind: TokenKind,
    *,
    issuer: str,
    audience: str,
) -> dict[str, Any]:
    """Return the claims of a token that this issuer signed for this audience.

    Raises UnknownKey if the signature is from none of `keys`, and ProviderError for any other error.
    """
    key = matching_key(header, keys)
    if key is None:
        raise UnknownKey(f"the {kind.name} is signed with a key that the provider does not publish")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[header.algorithm],
            audience=audience,
            issuer=issuer,
            leeway=kind.leeway,
            options={"require": list(kind.required)},
        )
    except jwt.InvalidSignatureError:
        raise UnknownKey(f"the {kind.name}'s signature is wrong") from None
    except jwt.ImmatureSignatureError:
        raise NotYetValid(f"the {kind.name} is from the future: compare the clocks") from None
    except jwt.PyJWTError as error:
        raise ProviderError(f"the {kind.name} {_REASONS.get(type(error), 'is not valid')}") from None
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ProviderError(f"the {kind.name} is not valid") from None
    _validate_claims(claims, kind)
    return claims


def _validate_claims(claims: Mapping[str, Any], kind: TokenKind) -> None:
    if alien := next((name for name in kind.forbidden if name in claims), None):
        raise ProviderError(f"the {kind.name} is of another kind ({alien})")
    if not all(is_time(claims[name]) for name in ("exp", "iat", "nbf") if name in claims):
        raise ProviderError(f"the {kind.name} has a time that is none")
    if "sub" in kind.required and not (isinstance(claims["sub"], str) and is_identifier(claims["sub"])):
        raise ProviderError(f"the {kind.name} has no usable subject")


_REASONS: dict[type, str] = {
    jwt.ExpiredSignatureError: "has expired: compare the clocks",
    jwt.InvalidAudienceError: "is for another client",
    jwt.InvalidIssuerError: "is of another issuer",
    jwt.MissingRequiredClaimError: "lacks a claim that it must have",
}


def validate_for_sign_in(
    claims: Mapping[str, Any],
    header: Header,
    *,
    client_id: str,
    nonce: str,
    access_token: str | None,
    authenticated_since: float | None = None,
) -> None:
    """Validate an ID token as OpenID Connect Core requires, sections 3.1.3.7 and 3.1.3.8.

    `authenticated_since` is the earliest Unix time at which the user may have authenticated. Raises
    ProviderError.
    """
    said = identifier(claims.get("nonce"), "nonce", LONGEST)
    if not hmac.compare_digest(said.encode(), nonce.encode()):
        raise ProviderError("the ID token belongs to another attempt (nonce)")
    validate_client(claims, client_id)
    if "at_hash" in claims and (not access_token or claims["at_hash"] != _at_hash(access_token, header)):
        raise ProviderError("the access token does not belong to the ID token (at_hash)")
    if authenticated_since is not None:
        at: Any = claims.get("auth_time")
        if not is_time(at) or at < authenticated_since - LEEWAY:
            raise ProviderError("the provider did not ask the person again (auth_time)")


def validate_client(claims: Mapping[str, Any], client_id: str) -> None:
    """Validate for which client an ID token was issued (OpenID Connect Core, section 3.1.3.7).

    Raises ProviderError.
    """
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise ProviderError("the ID token was made for another client (azp)")


def validate_for_program(claims: Mapping[str, Any], client_ids: Iterable[str]) -> None:
    """Validate an access token that a program sends. Raises ProviderError.

    `client_ids` are the portal's own. A token for one of them is an ID token, or the access token of a user
    who signed in. Applications receive both, and must not open other applications with them.
    """
    own = frozenset(client_ids)
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    named = [*audience, claims.get("azp"), claims.get("client_id")]
    if any(name in own for name in named if isinstance(name, str)):
        raise ProviderError("the token was made for the portal's own client")
    said = [claims.get("typ"), claims.get("token_use")]
    if any(isinstance(text, str) and text.lower() in _NO_ACCESS_TOKENS for text in said):
        raise ProviderError("the token is of another kind")


def _at_hash(access_token: str, header: Header) -> str:
    digest = hashlib.sha512 if header.algorithm == "EdDSA" else hashlib.sha256
    hashed = digest(access_token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(hashed[: len(hashed) // 2]).rstrip(b"=").decode()
