"""Times in JWTs: a NumericDate is a number of seconds (RFC 7519, section 2), never a text."""

from __future__ import annotations

from typing import Any

import jwt

LATEST = 253_402_300_799
"""Unix time of the last second of the year 9999, the end of Python's calendar."""


def is_time(value: Any) -> bool:
    """Return whether a claim is a NumericDate. PyJWT would also accept a text with a number."""
    # JSON parsers accept NaN and infinity, which are in no range.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST


def stored_time(token: str, claim: str) -> float:
    """Return a time of a JWT that was verified before it was stored, in Unix time; 0 if it has none."""
    try:
        value = jwt.decode(token, options={"verify_signature": False})[claim]
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return 0.0
    return float(value) if is_time(value) else 0.0
