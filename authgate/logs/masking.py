"""Masking of secrets in log lines. A secret is recognised by its position or its form."""

from __future__ import annotations

import re

MASK = "…"
SECRET_PATHS = (
    "/accounts/password/reset/key/",
    "/accounts/addresses/confirm/",
    "/accounts/lock/",
    "/invitation/",
    "/first-administrator/",
)
"""Paths of the portal that end in a secret."""

_NAMES = r"pass(?:word|wd)?|secret|token|ticket|nonce|assertion|cookie|authorization|csrf|session"
_RULES = (
    # user:password@ in a URL
    (re.compile(r"(://)[^/\s@]+@"), rf"\1{MASK}@"),
    # all values of a query
    (re.compile(r"([?&;][\w.~%\[\]-]{1,100}=)[^&\s\"'<>]+"), rf"\1{MASK}"),
    (re.compile(rf"({'|'.join(map(re.escape, SECRET_PATHS))})[^/\s\"'?]+"), rf"\1{MASK}"),
    # headers
    (re.compile(r"(?i)\b((?:authorization|cookie)[\"']?\s*:\s*[\"']?)[^\r\n\"']+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    # assignments and JSON members with a secret's name, but not names of exceptions
    (
        re.compile(
            rf"(?i)\b(\w{{0,40}}(?:{_NAMES})\w{{0,40}}(?:[\"']?\s*=|[\"']\s*:)\s*[\"']?)[^\s\"'&,;)]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b((?:password|secret|ticket)\s*:\s*)[^\s,;)]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b((?:code|ikdcode|state|key)[\"']?=[\"']?)[^\s\"'&,;)]+"), rf"\1{MASK}"),
    # CAS tickets
    (re.compile(r"\b((?:ST|PT|PGT|PGTIOU|TGT|TGC)-)[\w.-]+"), rf"\1{MASK}"),
    # in these lines PostgreSQL quotes rows and values
    (re.compile(r"(?m)^(DETAIL|CONTEXT|QUERY|STATEMENT|LINE \d+):.*$"), rf"\1: {MASK}"),
)
_OPAQUE = re.compile(r"[A-Za-z0-9_-]{32,}")


def masked(text: str) -> str:
    """Return the text with a mask in place of everything that is, or looks like, a secret."""
    for rule, instead in _RULES:
        text = rule.sub(instead, text)
    return _OPAQUE.sub(lambda match: MASK if _looks_random(match[0]) else match[0], text)


def _looks_random(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    is_mixed = digits > 0 and text.lower() != text != text.upper()
    return is_mixed or digits >= 4
