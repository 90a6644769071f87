"""The key URI that authenticator apps read from the QR code.

Its format is Google Authenticator's "Key Uri Format": `otpauth://totp/ISSUER:ACCOUNT?secret=…&issuer=ISSUER`.
Both names are percent-encoded (RFC 3986), and contain no colon. Both issuers are equal.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, urlsplit

from allauth.mfa import app_settings

LONGEST_HOST, LONGEST_ISSUER, LONGEST_ACCOUNT = 100, 180, 150
"""Encoded bytes. With all three at their maximum, a phone's camera still reads the QR code."""


def key_uri(secret: str, issuer: str, account: str) -> str:
    """Return the URI of a base32 secret. `issuer` and `account` come from the functions below."""
    name = quote(issuer, safe="")
    query = f"secret={secret}&issuer={name}&algorithm=SHA1"
    query += f"&digits={app_settings.TOTP_DIGITS}&period={app_settings.TOTP_PERIOD}"
    return f"otpauth://totp/{name}:{quote(account, safe='')}?{query}"


def issuer_of(brand: str, origin: str) -> str:
    """Return the name that apps show for the portal: its brand, and its host to distinguish portals."""
    host = _host_in(origin)
    name = _bounded(_plain(brand), LONGEST_ISSUER - len(quote(host, safe="")) - len("%20"))
    return f"{name} {host}".strip()


def account_of(username: str, fallback: str) -> str:
    return _bounded(_plain(username), LONGEST_ACCOUNT) or fallback


def _host_in(origin: str) -> str:
    """Return host and port of an origin, without colons. Of a long host, return only the end."""
    parts = urlsplit(origin)
    host = (parts.hostname or "").replace(":", "-")[-LONGEST_HOST:].lstrip("-.")
    return f"{host} {parts.port}" if parts.port else host


def _plain(text: str) -> str:
    """Return a name without colons, also those of other scripts, and without invisible characters."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(re.sub("[:\ufe55\uff1a\ua789\u2236]", " ", unicodedata.normalize("NFC", shown)).split())


def _bounded(text: str, length: int) -> str:
    """Return the beginning of a text, at most `length` bytes long when percent-encoded."""
    used = 0
    for index, letter in enumerate(text):
        used += len(quote(letter, safe=""))
        if used > length:
            return text[:index].rstrip()
    return text
