"""Times in JWTs. A NumericDate is a number of seconds (RFC 7519, section 2), never a text."""

from __future__ import annotations

from typing import Any

import jwt

LATEST = 253_402_300_799
"""Unix time of the last second of the year 9999, the end of Python's calendar."""


def is_time(value: Any) -> bool:
    """Return whether a claim is a NumericDate. PyJWT would also accept a text with a number."""
    # Python's JSON parser also accepts NaN and infinity. The comparison is false for both.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST


def stored_time(token: str, claim: str) -> float:
    """Return a time in a stored JWT as Unix time, or 0 without one. The JWT was verified before."""
    try:
        value = jwt.decode(token, options={"verify_signature": False})[claim]
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return 0.0
    return float(value) if is_time(value) else 0.0
