"""One-time codes: they carry a sign-in from the portal to a protected origin, once, within a minute.

A code is bound to the origin, to the browser's nonce and to the sign-in. It is stored under its hash.
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
"""Seconds that a code is good for."""

ROUNDS_LIMIT = 3
"""Attempts without a cookie after which the browser is told so rather than sent round again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A code that opened nothing. `uri` and `rounds` are those of its own attempt, if it was a real one."""

    uri: str | None = None
    rounds: int = 0


def mint(sign_in: SignIn, state: State, key: bytes) -> str:
    """Create a code that carries `sign_in` to the state's origin, tagged with `key`, and return it."""
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
    """Redeem a code, and return its sign-in and the URI to continue at. One request alone can redeem it.

    Origin and nonce are compared before the code is taken, so that no foreign hand can use it up.
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
    """Return the URI with the code added, so that `without_code` returns the same bytes again."""
    return f"{uri}{'&' if '?' in uri else '?'}ikdcode={code}"


def _key(code: str) -> str:
    return hashlib.sha256(f"code:{code}".encode("latin-1", "replace")).hexdigest()
