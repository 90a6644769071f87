"""Tokens that identify the doctor's requests to a check.

A token is in Sec-Purpose. Every shipped configuration passes this header to the check, and no page's script
can set it. A token grants nothing: a check with a valid token is always refused.
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
    """Return a new token. Its tag shows without a look-up that it was not forged."""
    random = secrets.token_bytes(24)
    return base64.urlsafe_b64encode(random + _tag(random, key)).rstrip(b"=").decode()


def token_in(headers: dict[bytes, bytes], keys: tuple[bytes, ...]) -> str | None:
    """Return the valid token of a request, or None."""
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
