"""Tokens by which a check recognises the doctor's requests.

A token is in Sec-Purpose, which every shipped configuration passes to the check, and which no page's script
can set. It opens nothing: a check with a valid one is always refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets

HEADER = b"sec-purpose"
MARK = b"ikd-doctor;"
LENGTH = 43
"""Characters of a token: 24 random bytes, and 8 bytes of a tag."""


def new_token(key: bytes) -> str:
    """Return a token. Its tag tells it from a made-up one without a look-up."""
    random = secrets.token_bytes(24)
    return base64.urlsafe_b64encode(random + _tag(random, key)).rstrip(b"=").decode()


def token_in(headers: dict[bytes, bytes], keys: tuple[bytes, ...]) -> str | None:
    """Return the token of a request, or None if there is none that a holder of the keys created."""
    value = headers.get(HEADER, b"")
    text = value.removeprefix(MARK)
    if text == value or len(text) != LENGTH or not text.isascii():
        return None
    try:
        octets = base64.b64decode(text + b"=", altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    if not any(hmac.compare_digest(_tag(octets[:24], key), octets[24:]) for key in keys):
        return None
    return text.decode()


def _tag(random: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"ikd doctor:" + random, "sha256")[:8]
