"""The sealed state of an attempt to sign in, and the one-time code at its end.

The state is part of a URL, so it contains no secret: only the hash of the browser's nonce.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import NamedTuple

AGE_LIMIT = 24 * 3600
"""Seconds. A sign-in page that was open for longer starts again."""


class State(NamedTuple):
    """Where an attempt to sign in started, and where it returns.

    `back` is the prefix of the callback that gets the code, empty if the target's own URL gets it.
    `issued_at` is Unix time. `rounds` is the number of attempts that ended without a gate cookie. `kept` is
    the key of a stored page that is too long for the state. If that page is gone, `uri` is used.
    """

    origin: str
    uri: str
    nonce_hash: str
    back: str
    issued_at: int
    rounds: int = 0
    kept: str = ""


def nonce_hash(nonce: str) -> str:
    return hashlib.sha256(f"nonce:{nonce}".encode("latin-1")).hexdigest()[:32]


_quoted = json.encoder.encode_basestring_ascii
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def seal(state: State, key: bytes) -> str:
    """Return the state as URL-safe text, authenticated with `key`."""
    origin, uri, nonce, back, kept = map(_quoted, (*state[:4], state.kept))
    payload = f"[{origin},{uri},{nonce},{back},{state.issued_at},{state.rounds},{kept}]".encode()
    return f"{_text(payload)}.{_text(_mac(payload, key))}"


def unseal(sealed: str, keys: tuple[bytes, ...], now: float) -> State | None:
    """Return the state, or None if it is too old or was not sealed with one of the keys."""
    try:
        payload, mac = (_bytes(part) for part in sealed.split("."))
    except ValueError:
        return None
    if not any(hmac.compare_digest(_mac(payload, key), mac) for key in keys):
        return None
    state = State(*json.loads(payload))
    return state if now - state.issued_at <= AGE_LIMIT else None


def new_code(random: bytes, key: bytes) -> str:
    """Return a one-time code of 24 random bytes and a tag that authenticates it."""
    return _text(random + _tag(random, key))


def is_forged(code: str, keys: tuple[bytes, ...]) -> bool:
    """Return whether a code was not created with one of the keys. Needs no look-up."""
    decoded = base64.urlsafe_b64decode(f"{code}=")
    return not any(hmac.compare_digest(_tag(decoded[:24], key), decoded[24:]) for key in keys)


def _tag(random: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"ikd code:" + random, "sha256")[:8]


def _mac(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"ikd state:" + payload, "sha256")


def _text(raw: bytes) -> str:
    encoded = binascii.b2a_base64(raw, newline=False)
    return encoded.translate(_URL_SAFE, b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
