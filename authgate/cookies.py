"""The portal's cookies: the only parser of the Cookie header, and the names and attributes of our cookies.

Django's parser strips every Unicode space from a name. A sibling host can set `\\u2003__Host-ikd_gate` for
the whole domain, because browsers protect only the exact prefix. This parser strips ASCII spaces and tabs
only, compares bytes, and returns nothing for a name that appears twice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from authgate.decision.target import without_port


def cookies_of(line: bytes) -> dict[str, str]:
    """Return the cookies of a Cookie header (RFC 6265, section 4.2.1), without names that appear twice.

    Names and values are decoded as latin-1, which preserves every byte.
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
    """Return one cookie as `cookies_of` does. None if it is missing or appears twice.

    If the name appears once in the line, as browsers send it, nothing else is parsed.
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
    """Return the attributes of a cookie, as arguments of Django's `set_cookie`. `max_age` is in seconds.

    Raises ValueError if the prefix of the name forbids them (RFC 6265bis, section 4.1.3).
    """
    is_prefixed = name.startswith(("__Host-", "__Secure-"))
    if is_prefixed and (not is_https or (domain and name.startswith("__Host-"))):
        raise ValueError(f"a cookie with these attributes cannot be named {name}")
    wanted = {"path": "/", "httponly": True, "samesite": "Lax", "secure": is_https, "domain": domain or False}
    age = {} if max_age is None else {"max_age": max_age}
    return {key: value for key, value in wanted.items() if value} | age


def place_of(origin: str, shared_domains: tuple[str, ...]) -> str:
    """Return where a gate session of an origin is valid: in its shared cookie domain, such as `.example.com`.

    Outside these domains, and without https, it is valid on that origin only. No origin begins with a dot.
    """
    if shared_domains and origin.startswith("https://"):
        host = "." + origin.removeprefix("https://").partition(":")[0]
        for domain in shared_domains:
            if host.endswith(f".{domain}"):
                return f".{domain}"
    return origin


@lru_cache(maxsize=8192)
def cookie_name(origin: str, kind: str) -> str:
    """Return the name of our cookie of a kind: `gate` or `nonce`. Without https it has no prefix.

    Browsers send cookies to all ports of a host (RFC 6265, section 8.5), so each port has its own name:
    `__Host-ikd_gate_8443`. `origin` can be a shared cookie domain (`.example.com`). Browsers do not allow
    `__Host-` there.
    """
    if origin.startswith("."):
        return "__Secure-ikd_shared"
    port = origin.removeprefix(without_port(origin)).replace(":", "_")
    return f"{'__Host-' if origin.startswith('https:') else ''}ikd_{kind}{port}"


@lru_cache(maxsize=8192)
def gate_name(place: str) -> bytes:
    return cookie_name(place, "gate").encode("ascii")


def set_cookie(origin: str, kind: str, value: str, *, max_age: int | None = None) -> tuple[bytes, bytes]:
    """Return a Set-Cookie header for one origin or shared cookie domain (RFC 6265bis, section 4.1.3.2)."""
    return b"set-cookie", f"{cookie_name(origin, kind)}={value}{_attributes(origin, kind, max_age)}".encode(
        "ascii"
    )


_NAMES = {"httponly": "HttpOnly", "samesite": "SameSite", "max_age": "Max-Age"}


@lru_cache(maxsize=1024)
def _attributes(origin: str, kind: str, max_age: int | None) -> str:
    domain = origin[1:] if origin.startswith(".") else ""
    attributes = attributes_of(cookie_name(origin, kind), origin.startswith(("https:", ".")), domain, max_age)
    named = ((_NAMES.get(key, key.title()), value) for key, value in attributes.items())
    return "".join(f"; {key}" if value is True else f"; {key}={value}" for key, value in named)
