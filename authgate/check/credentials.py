"""Finds the portal's credential in Authorization.

A credential is recognised in every spelling, so that none is mistaken for the application's own. It is
accepted only in its exact form. Everything between is a wrong credential.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import string
import zlib
from hashlib import sha256
from typing import NamedTuple

from authgate.check.request import RequestHeaders
from authgate.cookies import cookie_in, gate_name, place_of

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRET_LENGTH, CHECKSUM_LENGTH = 43, 6
"""Base62 digits of 256 random bits, and of their CRC-32, by which secret scanners recognise a token."""

PREFIX = b"ikd_"
LONGEST = 8192
"""Bytes of an Authorization that can contain the portal's credential."""

TOKEN_KIND, JWT_KIND = b"t", b"j"
KEY_LENGTH = 33
"""Bytes of the key of a program's credential: its kind and SHA-256. A cookie's key has 32 bytes."""

_TOKEN = re.compile(rb"ikd_[0-9A-Za-z]{49}")
_SCHEME = re.compile(rb"([A-Za-z]+)([ \t]+)(.*)", re.DOTALL)
_JWT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_NOT_BASE64 = bytes(set(range(256)) - {*b"+/-_", *DIGITS.encode()})
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")


class Credential(NamedTuple):
    """The portal's credential in a request. `key` is its key in memory, empty for an invalid credential.

    `place` is the origin or shared cookie domain of a gate cookie, empty for a program's credential. `name`
    is the user name of Basic. `jwt` is a JWT that must be verified.
    """

    key: bytes
    place: str = ""
    name: str | None = None
    jwt: bytes = b""

    def __repr__(self) -> str:
        return f"Credential(place={self.place!r}, name={self.name!r})"


WRONG = Credential(b"")
NO_ISSUERS: frozenset[str] = frozenset()


def new_token() -> str:
    """Return a new API token: 256 random bits and a checksum."""
    secret = _base62(int.from_bytes(secrets.token_bytes(32)), SECRET_LENGTH)
    return f"ikd_{secret}{_checksum(secret)}"


def token_key(digest: bytes) -> bytes:
    return TOKEN_KIND + digest


def gate_credential(
    headers: RequestHeaders, origin: str, shared_domains: tuple[str, ...]
) -> Credential | None:
    """Return the gate cookie of an origin or its shared cookie domain, or None."""
    line = headers.values.get(b"cookie")
    if line is None:
        return None
    place = place_of(origin, shared_domains)
    token = cookie_in(line, gate_name(place))
    return Credential(sha256(token).digest(), place) if token else None


def plain_token_key(headers: RequestHeaders) -> bytes | None:
    """Return the key in memory of the token in a plain `Bearer ikd_…`. None for every other Authorization.

    The token is not validated. If memory has a program under this key, its token is valid. Otherwise call
    `credential_in`.
    """
    value = headers.values[b"authorization"]
    if len(value) != PLAIN_LENGTH or not value.startswith(b"Bearer ikd_") or headers.doubled:
        return None
    return TOKEN_KIND + sha256(value[7:]).digest()


PLAIN_LENGTH = len("Bearer ikd_") + SECRET_LENGTH + CHECKSUM_LENGTH


def credential_in(headers: RequestHeaders, issuers: frozenset[str] = NO_ISSUERS) -> Credential | None:
    """Return the portal's credential in Authorization (RFC 9110, section 11.6.2), or None for other values.

    `issuers` are those whose JWTs are accepted.
    """
    value = headers.values.get(b"authorization")
    if value is None:
        return None
    if b"authorization" in headers.doubled:
        return WRONG  # nobody knows which of the two the application reads
    value = value.strip(b" \t")
    parts = _SCHEME.fullmatch(value)
    found = _of_scheme(parts[1].lower(), parts[3], issuers) if parts else None
    if found is None:
        return WRONG if _TOKEN.search(value) else None
    return WRONG if parts and b"\t" in parts[2] else found


def _of_scheme(scheme: bytes, rest: bytes, issuers: frozenset[str]) -> Credential | None:
    if scheme == b"bearer" and rest.startswith(PREFIX):
        return _token(rest)
    if len(rest) > LONGEST:
        return None
    if scheme == b"basic":
        return _basic(rest)
    if scheme == b"bearer" and issuers and issuer_of(rest) in issuers:
        return _jwt(rest)
    return None


def _token(token: bytes, name: str | None = None) -> Credential:
    if not _TOKEN.fullmatch(token):
        return WRONG
    secret = token[len(PREFIX) : -CHECKSUM_LENGTH].decode("ascii")
    if token[-CHECKSUM_LENGTH:].decode("ascii") != _checksum(secret):
        return WRONG
    return Credential(token_key(sha256(token).digest()), name=name)


def _basic(encoded: bytes) -> Credential | None:
    """Return the token in the password of Basic (RFC 7617)."""
    decoded = _decoded(encoded)
    name, _, password = decoded.partition(b":")
    if not password.startswith(PREFIX) and not _TOKEN.search(decoded):
        return None
    if base64.b64encode(decoded) != encoded:
        return WRONG
    try:
        return _token(password, name.decode("utf-8"))
    except UnicodeDecodeError:
        return WRONG


def _jwt(rest: bytes) -> Credential:
    if not _JWT.fullmatch(rest):
        return WRONG
    return Credential(JWT_KIND + sha256(rest).digest(), jwt=rest)


def issuer_of(rest: bytes) -> str | None:
    """Return the issuer in a JWT that is not verified yet."""
    parts = rest.split(b".")
    if len(parts) < 2:
        return None
    try:
        claims = json.loads(_decoded(parts[1]))
    except (ValueError, RecursionError):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


def _decoded(encoded: bytes) -> bytes:
    """Decode base64 like the most lenient decoder: either alphabet, with or without padding or junk."""
    digits = encoded.translate(_TO_BASE64, _NOT_BASE64)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4))
    except binascii.Error:
        return b""


def _checksum(secret: str) -> str:
    return _base62(zlib.crc32(secret.encode("ascii")), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))
