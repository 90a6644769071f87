"""Validation of every text that a provider sends.

JSON can contain lone surrogates, NUL and line breaks. PostgreSQL refuses the first two, SQLite and UTF-8 the
first, HTTP headers the last.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from accounts.upstreams.errors import ProviderError

LONGEST = 255
LONGEST_ADDRESS = 2000


def identifier(value: Any, name: str, longest: int = LONGEST) -> str:
    """Return a valid identifier unchanged. Raises ProviderError for any other value.

    The portal repairs none, because a repaired text could be equal to another identifier.
    """
    if not isinstance(value, str) or not is_identifier(value, longest):
        raise ProviderError(f"the provider sent no usable text where a name must be ({name})")
    return value


def is_identifier(text: str, longest: int = LONGEST) -> bool:
    # `isprintable` is false for surrogates, control characters and line separators.
    return 0 < len(text) <= longest and text.isprintable()


def optional_identifier(value: Any, name: str, longest: int = LONGEST) -> str:
    """Return an identifier, or "" if the provider sent none. Raises ProviderError for an invalid one."""
    return "" if value is None or value == "" else identifier(value, name, longest)


def readable(value: Any, longest: int) -> str:
    """Return a text for display without unprintable characters, or "" for any other value."""
    return "".join(filter(str.isprintable, value)).strip()[:longest] if isinstance(value, str) else ""


def web_address(value: Any, name: str) -> str:
    """Return a URL that the portal may request, or redirect a browser to.

    Raises ProviderError for any other value.
    """
    is_text = isinstance(value, str) and value.isascii() and is_identifier(value, LONGEST_ADDRESS)
    if not is_text or not value.startswith(("https://", "http://")) or not {*' "<>\\#'}.isdisjoint(value):
        raise ProviderError(f"the discovery document has an unusable {name}")
    try:
        parts = urlsplit(value)
        is_usable = bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ProviderError(f"the discovery document has an unusable {name}")
    return str(value)
