"""The one parser of the Cookie header, for the check, the views and the portal's own session.

Django's strips every Unicode space from a name, and a sibling host can set `\\u2003__Host-ikd_gate` for
the whole domain: browsers keep the prefix's promise for the exact name only. So this one strips ASCII
space and tab alone, compares bytes, and gives nothing for a name that comes twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict


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


class Attributes(TypedDict):
    """Attributes of a cookie, under the names that Django's `set_cookie` has for them."""

    path: str
    httponly: bool
    samesite: Literal["Lax"]
    secure: bool
    domain: str | None
    max_age: int | None


def attributes_of(name: str, *, is_https: bool, domain: str = "", max_age: int | None = None) -> Attributes:
    """Return the attributes that every cookie of ours has. `max_age` is in seconds.

    No script reads the cookie, and no other site's form or frame sends it. Raise ValueError where the prefix
    of its name would not hold (RFC 6265bis, section 4.1.3).
    """
    is_of_one_host = name.startswith("__Host-")
    if (is_of_one_host and domain) or (name.startswith(("__Host-", "__Secure-")) and not is_https):
        raise ValueError(f"a cookie with these attributes cannot be named {name}")
    return {
        "path": "/",
        "httponly": True,
        "samesite": "Lax",
        "secure": is_https,
        "domain": domain or None,
        "max_age": max_age,
    }


def set_cookie_line(name: str, value: str, attributes: Attributes) -> str:
    """Return the value of a Set-Cookie header."""
    parts = [f"{name}={value}", f"Path={attributes['path']}"]
    parts += ["HttpOnly"] if attributes["httponly"] else []
    parts += [f"SameSite={attributes['samesite']}"]
    parts += ["Secure"] if attributes["secure"] else []
    parts += [f"Domain={attributes['domain']}"] if attributes["domain"] else []
    parts += [f"Max-Age={attributes['max_age']}"] if attributes["max_age"] is not None else []
    return "; ".join(parts)


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
