"""The sealed state of one attempt to sign in: where it began, and what it must return to; and its code.

The state travels in a URL, so it holds no secret: of the browser's nonce only the hash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import NamedTuple

AGE_LIMIT = 24 * 3600
"""Seconds; a sign-in page left open for longer starts again."""


class State(NamedTuple):
    """`back` is the prefix whose callback takes the code, empty where the target's own URL takes it.

    `issued_at` is Unix time; `rounds` counts attempts that ended without a gate cookie. `kept` is the key of
    a page that is too long for the state; `uri` is then what is left of it if the page is gone.
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
    """Return the state as URL-safe text that only a holder of `key` can create."""
    origin, uri, nonce, back, kept = map(_quoted, (*state[:4], state.kept))
    payload = f"[{origin},{uri},{nonce},{back},{state.issued_at},{state.rounds},{kept}]".encode()
    return f"{_text(payload)}.{_text(_mac(payload, key))}"


def unseal(sealed: str, keys: tuple[bytes, ...], now: float) -> State | None:
    """Return the state, or None if it was not sealed with one of the keys, or too long ago."""
    try:
        payload, mac = (_octets(part) for part in sealed.split("."))
    except ValueError:
        return None
    if not any(hmac.compare_digest(_mac(payload, key), mac) for key in keys):
        return None
    state = State(*json.loads(payload))
    return state if now - state.issued_at <= AGE_LIMIT else None


def new_code(random: bytes, key: bytes) -> str:
    """Return a one-time code of 24 random bytes, with a tag that tells it from a made-up one."""
    return _text(random + _tag(random, key))


def is_made_up(code: str, keys: tuple[bytes, ...]) -> bool:
    """Return whether no holder of one of the keys created a code. It costs no look-up to say so."""
    octets = base64.urlsafe_b64decode(f"{code}=")
    return not any(hmac.compare_digest(_tag(octets[:24], key), octets[24:]) for key in keys)


def _tag(random: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"ikd code:" + random, "sha256")[:8]


def _mac(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"ikd state:" + payload, "sha256")


def _text(octets: bytes) -> str:
    encoded = binascii.b2a_base64(octets, newline=False)
    return encoded.translate(_URL_SAFE, b"=").decode()


def _octets(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
