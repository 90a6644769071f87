"""Every way in which a path can be read by some proxy or backend."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from authgate.check.target import BadTarget

_PLAIN_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.~!$&'()*+,=:@-]+)+|/")
_PLAIN_LOWER_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[a-z0-9_.~!$&'()*+,=:@-]+)+|/")
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})[^/]{0,2}")
# ASCII in more bytes than it needs (RFC 3629, section 10), each byte as `surrogateescape` shows it.
_OVERLONG = re.compile("(?:[\udcc0\udcc1]|(?:\udcf0\udc80|\udce0)[\udc80\udc81])[\udc80-\udcbf]")
_READ_IN_WAYS = re.compile(r"[/\\;?#%.]")
# HFS+ skips these when it compares names (git's CVE-2014-9390): joiners, direction and byte order marks.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")

READINGS_LIMIT = 256
"""More readings than this are nobody's honest path."""

LONGEST_ODD_PATH = 8192
"""Characters of a path with several readings, as nginx's own limit."""

LONGEST_READINGS = 4 * LONGEST_ODD_PATH
"""Characters of all readings of a path together: to find each costs time by its length."""


def readings(path: str) -> tuple[str, ...]:
    """Return every path that some proxy or backend may take this one for, itself first.

    Decoded up to twice, with `\\` for `/`, parameters (`;…`) cut, an encoded `?` or `#` taken for the real
    one, slashes merged, dot segments resolved and without its trailing slash, in every order
    (CVE-2020-24660 and CVE-2026-95811 of LemonLDAP::NG are what is missed otherwise). Raises BadTarget for
    a path with a raw `#`, an encoded NUL, a `%` without two hexadecimal digits (RFC 3986, section 2.1), which
    servers repair in different ways, and for more or longer readings than any honest path has.
    """
    if _PLAIN_PATH.fullmatch(path):
        return (path,)
    if "#" in path or len(path) > LONGEST_ODD_PATH or _MALFORMED.search(path):
        raise BadTarget("path")
    seen: dict[tuple[str, int], None] = {(path, 0): None}
    pending = [(path, 0)]
    together = len(path)
    while pending:
        reading, decoded = pending.pop()
        for found in _steps(reading, decoded):
            if found in seen:
                continue
            together += len(found[0])
            if "\0" in found[0] or len(seen) >= READINGS_LIMIT or together > LONGEST_READINGS:
                raise BadTarget("path")
            seen[found] = None
            pending.append(found)
    return tuple(dict.fromkeys(reading or "/" for reading, _ in seen))


@lru_cache(maxsize=4096)
def is_read_alike(path: str) -> bool:
    """Return whether every server reads this path the same way, in any letter case."""
    return _PLAIN_LOWER_PATH.fullmatch(path) is not None


def _steps(path: str, decoded: int) -> list[tuple[str, int]]:
    steps = []
    if "%" in path and decoded < 2:
        steps += [(reading, decoded + 1) for reading in _decodings(path)]
    if "\\" in path:
        steps.append((path.replace("\\", "/"), decoded))
    if ";" in path:
        steps.append((re.sub(r";[^/]*", "", path), decoded))
    if "?" in path or "#" in path:
        steps.append((re.split(r"[?#]", path, maxsplit=1)[0], decoded))
    if "//" in path:
        steps.append((re.sub(r"/{2,}", "/", path), decoded))
    if "/." in path:
        steps.append((_resolve_dots(path), decoded))
    if path.endswith("/") and path != "/":
        steps.append((path[:-1], decoded))
    if not path.isascii():
        if _OVERLONG.search(path):
            steps.append((_OVERLONG.sub(_shortest, path), decoded))
        compatible = unicodedata.normalize("NFKC", path)
        # A wide slash or percent sign, or two dots in one character, become the real ones.
        if _READ_IN_WAYS.findall(compatible) != _READ_IN_WAYS.findall(path):
            steps.append((compatible, decoded))
    return steps


def _decodings(path: str) -> list[str]:
    """Return a path percent-decoded; if an escape is malformed, also as servers repair that.

    Only what was decoded once has such escapes: `/100%25` is honest, and a second decoding meets `/100%`.
    """
    malformed = _MALFORMED.search(path)
    if malformed is None:
        return [_decode(path)]
    without_sign, without_escape = _MALFORMED.sub("", path), _MALFORMED_ESCAPE.sub("", path)
    return [_decode(repaired) for repaired in (path, without_sign, without_escape, path[: malformed.start()])]


def _shortest(overlong: re.Match[str]) -> str:
    """Return the character that lenient decoders make of an overlong form; NUL stays as it is."""
    code = (ord(overlong[0][-2]) & 1) << 6 | ord(overlong[0][-1]) & 0x3F
    return chr(code) if code else overlong[0]


def composed(path: str) -> str:
    """Return a path with composed characters (NFC): canonically equivalent paths become the same."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def folded(path: str) -> str:
    """Return a path as backends compare it that heed neither letter case nor composition.

    Some also compare compatible characters (NFKC, as ZFS can), or leave out invisible ones (HFS+). Upper case
    comes first: a dotless i equals an i in Java's `equalsIgnoreCase`.
    """
    if path.isascii():
        return path.casefold()
    visible = _IGNORED.sub("", unicodedata.normalize("NFKD", path))
    return unicodedata.normalize("NFKC", visible.upper().casefold())


def _decode(path: str) -> str:
    octets = unquote_to_bytes(path.encode("utf-8", "surrogateescape"))
    return octets.decode("utf-8", "surrogateescape")


def _resolve_dots(path: str) -> str:
    """Resolve dot segments as RFC 3986, section 5.2.4 does."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
