"""The one parser of the Cookie header, for the check, the views and the portal's own session.

Django's strips every Unicode space from a name, and a sibling host can set `\\u2003__Host-ikd_gate` for
the whole domain: browsers keep the prefix's promise for the exact name only. So this one strips ASCII
space and tab alone, compares bytes, and gives nothing for a name that comes twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def cookies_in(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Give the cookies of a raw header list (names in lower case), doubled names left out."""
    return cookies_of(b"; ".join(value for name, value in headers if name == b"cookie"))


def cookies_of(line: bytes) -> dict[str, str]:
    """Give the cookies of a Cookie header (RFC 6265, section 4.2.1), doubled names left out.

    Names and values are latin-1 text, so that every byte is kept.
    """
    found: dict[str, str] = {}
    doubled: set[str] = set()
    for pair in line.decode("latin-1").split(";"):
        name, separator, value = pair.partition("=")
        if not separator:
            continue
        name = name.strip(" \t")
        if name in found:
            doubled.add(name)
        found[name] = value.strip(" \t")
    for name in doubled:
        del found[name]
    return found


def cookie_in(line: bytes, name: bytes) -> bytes | None:
    """Give the one cookie of that name, as `cookies_of` would; None where it is absent or doubled.

    Where the name stands once in the whole line, as browsers write it, nothing else is parsed.
    """
    start = line.find(name)
    if start < 0:
        return None
    end = start + len(name)
    is_first_or_after_a_space = not start or line[start - 2 : start] == b"; "
    if is_first_or_after_a_space and line[end : end + 1] == b"=" and line.find(name, end) < 0:
        stop = line.find(b";", end)
        return line[end + 1 : stop if stop >= 0 else None].strip(b" \t")
    value = cookies_of(line).get(name.decode("latin-1"))
    return None if value is None else value.encode("latin-1")


def attributes_of(name: str, is_https: bool, domain: str = "", max_age: int | None = None) -> dict[str, Any]:
    """Return the attributes of a cookie, for Django's `set_cookie` and ours. `max_age` is in seconds.

    Raise ValueError if the prefix of the name forbids them (RFC 6265bis, section 4.1.3).
    """
    is_prefixed = name.startswith(("__Host-", "__Secure-"))
    if is_prefixed and (not is_https or (domain and name.startswith("__Host-"))):
        raise ValueError(f"a cookie with these attributes cannot be named {name}")
    wanted = {"path": "/", "httponly": True, "samesite": "Lax", "secure": is_https, "domain": domain or False}
    age = {} if max_age is None else {"max_age": max_age}
    return {key: value for key, value in wanted.items() if value} | age


_NAMES = {"httponly": "HttpOnly", "samesite": "SameSite", "max_age": "Max-Age"}


def set_cookie_line(name: str, value: str, attributes: dict[str, Any]) -> str:
    """Return the value of a Set-Cookie header."""
    named = ((_NAMES.get(key, key.title()), each) for key, each in attributes.items())
    return "; ".join([f"{name}={value}", *(key if each is True else f"{key}={each}" for key, each in named)])


def place_of(origin: str, shared_domains: tuple[str, ...]) -> str:
    """Give where a gate session opened on `origin` counts: `.example.com` in a shared cookie domain.

    Everywhere else, and without https, on that origin alone. No origin begins with a dot.
    """
    if shared_domains and origin.startswith("https://"):
        host = "." + origin.removeprefix("https://").partition(":")[0]
        for domain in shared_domains:
            if host.endswith(f".{domain}"):
                return f".{domain}"
    return origin
