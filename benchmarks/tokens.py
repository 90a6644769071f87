"""Gate tokens that can be computed from a number. Standard library only."""

from __future__ import annotations

import hashlib


def token_of(number: int) -> str:
    """Return a token with the length of a real one."""
    return f"{number:043d}"


def digest_of(number: int) -> bytes:
    return hashlib.sha256(token_of(number).encode()).digest()
