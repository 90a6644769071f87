from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

from authgate.decision.target import BadTarget, origin_from

LONGEST = 4096
"""Characters of a target in an answer's headers, at most."""

LONGEST_PAGE = 8_704
"""Characters, at most, of a page's URL that is kept or shown in a body: 8 KiB after any origin."""

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)([/?#].*)?", re.IGNORECASE | re.DOTALL)


def validate_target(
    target: str | None, *, base: str, allowed: Callable[[str], bool], longest: int = LONGEST
) -> str | None:
    """Return the absolute URL of `target` in ASCII, or None if no browser may be redirected there.

    `target` is a path on the origin `base`, or an absolute URL of an `allowed` origin. Texts that browsers
    and `urlsplit` read differently are refused before parsing: backslashes, white space, control characters,
    user info, a second slash at the start.
    """
    if not target or len(target) > longest or _FORBIDDEN.search(target):
        return None
    if any(ord(character) > 0x7F and not character.isprintable() for character in target):
        return None
    if target.startswith("/"):
        return None if target.startswith("//") else base + _in_ascii(target)
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return None
    try:
        origin = origin_from(match[1], match[2])
    except BadTarget:
        return None
    rest = match[3] or "/"
    if not rest.startswith("/"):
        rest = f"/{rest}"
    return origin + _in_ascii(rest) if allowed(origin) else None


def domain_matches(origin: str, domains: Iterable[str]) -> bool:
    """Return whether an https origin matches one of `domains`.

    `example.com` matches this host only; `.example.com` also matches all hosts below it. A domain may have a
    port; without one, only the default port matches.
    """
    scheme, _, authority = origin.partition("://")
    if scheme != "https":
        return False
    host, _, port = authority.partition(":")
    for domain in domains:
        name, _, domain_port = domain.lower().removeprefix("*").partition(":")
        if port != domain_port:
            continue
        if host == name.removeprefix(".") or (name.startswith(".") and host.endswith(name)):
            return True
    return False


def _in_ascii(text: str) -> str:
    return quote(text, safe="!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", encoding="utf-8", errors="surrogateescape")
