"""Codes of authenticator apps, and recovery codes. Each code works once."""

from __future__ import annotations

import hmac
import re
import time
import unicodedata

from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.db import transaction

from accounts.models import User
from accounts.second_factor.adapter import FactorAdapter

LONGEST_CODE = 64
TOLERANCE = 1
"""Periods by which a device's clock may differ, in either direction."""

LAST_COUNTER = "last_counter"
_SEPARATORS = re.compile(r"[\s-]+")


def digits_of(text: str) -> str:
    """Return the digits of a code as users type it, or "" for any other text."""
    bare = _SEPARATORS.sub("", unicodedata.normalize("NFKC", text[:LONGEST_CODE]))
    return bare if bare.isascii() and bare.isdigit() else ""


def counter_of(secret: str, code: str, after: int = -1) -> int | None:
    """Return the time step (RFC 6238) of a correct code, or None if it is not later than `after`."""
    now = int(time.time()) // app_settings.TOTP_PERIOD
    for counter in range(now - TOLERANCE, now + TOLERANCE + 1):
        expected = format_hotp_value(hotp_value(secret, counter))
        if hmac.compare_digest(code.encode(), expected.encode()) and counter > after:
            return counter
    return None


@transaction.atomic
def use_code(user: User, text: str) -> Authenticator | None:
    """Use a code, and return the authenticator that accepted it, or None.

    Of several concurrent requests with one code, one succeeds.
    """
    code = digits_of(text)
    if not code:
        return None
    # Lock one row after the other: one query would lock both in any order, and could deadlock.
    for kind in (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES):
        row = Authenticator.objects.select_for_update().filter(user=user, type=kind).first()
        if row is None:
            continue
        taken = _take_totp(row, code) if kind == Authenticator.Type.TOTP else row.wrap().validate_code(code)
        if taken:
            return row
    return None


def _take_totp(row: Authenticator, code: str) -> bool:
    secret = FactorAdapter().decrypt(row.data["secret"])
    counter = counter_of(secret, code, after=row.data.get(LAST_COUNTER, -1))
    if counter is None:
        return False
    row.data[LAST_COUNTER] = counter
    row.save(update_fields=["data"])
    return True


def note_first_code(row: Authenticator, secret: str, text: str) -> None:
    """Mark the first code of an app, which the user entered to set it up, as used."""
    counter = counter_of(secret, digits_of(text))
    if counter is not None:
        row.data[LAST_COUNTER] = counter
        row.save(update_fields=["data"])
