"""One-time codes of the hand-over. A code carries a sign-in from the portal to a protected origin.

A code works once, within a minute. It is bound to the origin, the browser's nonce and the sign-in, and is
stored under its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from django.core.cache import caches

from authgate.check.state import State, new_code, nonce_hash
from authgate.models import SignIn
from authgate.sign_ins import is_idle, live_sign_ins

CODE_AGE = 60
"""Seconds for which a code is valid."""

ROUNDS_LIMIT = 3
"""Attempts without a cookie. After them the browser gets an error page rather than another redirect."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The result for an invalid code. If the code was ours, `uri` and `rounds` are from its attempt."""

    uri: str | None = None
    rounds: int = 0


def mint(sign_in: SignIn, state: State, key: bytes) -> str:
    """Create and return a code that carries `sign_in` to the state's origin, tagged with `key`."""
    code = new_code(secrets.token_bytes(24), key)
    record = {
        "origin": state.origin,
        "nonce_hash": state.nonce_hash,
        "sign_in": sign_in.pk,
        "uri": state.uri,
        "rounds": state.rounds,
        "issued_at": time.time(),
    }
    caches["codes"].set(_key(code), record, CODE_AGE)
    return code


def redeem(code: str, *, origin: str, nonce: str) -> tuple[SignIn, str] | Failure:
    """Redeem a code. Return its sign-in and the URI to continue at. Only one request can redeem a code.

    Origin and nonce are compared before the code is deleted, so that no attacker can use it up.
    """
    record = caches["codes"].get(_key(code))
    if record is None or record["origin"] != origin or time.time() - record["issued_at"] > CODE_AGE:
        return Failure()
    if not nonce or not hmac.compare_digest(nonce_hash(nonce), record["nonce_hash"]):
        return Failure(record["uri"], record["rounds"] + 1)
    if not caches["codes"].delete(_key(code)):
        return Failure(record["uri"])
    sign_in = live_sign_ins().filter(pk=record["sign_in"]).first()
    if sign_in is None or is_idle(sign_in):
        return Failure(record["uri"])
    return sign_in, record["uri"]


def with_code(uri: str, code: str) -> str:
    """Return the URI with the code appended. `without_code` reverses this to the same bytes."""
    return f"{uri}{'&' if '?' in uri else '?'}ikdcode={code}"


def _key(code: str) -> str:
    return hashlib.sha256(f"code:{code}".encode("latin-1", "replace")).hexdigest()
