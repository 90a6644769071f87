"""Path variants: every path that some proxy or backend may read instead of the one that was sent."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from authgate.decision.target import BadTarget

_PLAIN_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.~!$&'()*+,=:@-]+)+|/")
_PLAIN_LOWER_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[a-z0-9_.~!$&'()*+,=:@-]+)+|/")
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})[^/]{0,2}")
# ASCII in more bytes than it needs (RFC 3629, section 10), each byte as `surrogateescape` shows it.
_OVERLONG = re.compile("(?:[\udcc0\udcc1]|(?:\udcf0\udc80|\udce0)[\udc80\udc81])[\udc80-\udcbf]")
_MEANINGFUL = re.compile(r"[/\\;?#%.]")
# HFS+ ignores joiners, direction marks and byte order marks in names (git's CVE-2014-9390).
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")

VARIANTS_LIMIT = 256
"""No ordinary path has more variants."""

LONGEST_ODD_PATH = 8192
"""Characters of a path with several variants. nginx has the same limit."""

LONGEST_VARIANTS = 4 * LONGEST_ODD_PATH
"""Characters of all variants of a path together. Finding a variant takes time in proportion to its length."""


def variants(path: str) -> tuple[str, ...]:
    """Return all variants of a path, itself first.

    Servers decode a path up to twice, read `\\` as `/`, cut parameters (`;…`), read an encoded `?` or `#` as
    the real one, merge slashes, resolve dot segments and remove the trailing slash, in any order. Without
    that, an attacker gets around a rule as in CVE-2020-24660 and CVE-2026-95811 of LemonLDAP::NG.

    Raises BadTarget for a raw `#`, an encoded NUL, too many or too long variants, and for a `%` without two
    hexadecimal digits (RFC 3986, section 2.1), which servers repair in different ways.
    """
    if _PLAIN_PATH.fullmatch(path):
        return (path,)
    if "#" in path or len(path) > LONGEST_ODD_PATH or _MALFORMED.search(path):
        raise BadTarget("path")
    seen: dict[tuple[str, int], None] = {(path, 0): None}
    pending = [(path, 0)]
    together = len(path)
    while pending:
        variant, decoded = pending.pop()
        for found in _steps(variant, decoded):
            if found in seen:
                continue
            together += len(found[0])
            if "\0" in found[0] or len(seen) >= VARIANTS_LIMIT or together > LONGEST_VARIANTS:
                raise BadTarget("path")
            seen[found] = None
            pending.append(found)
    return tuple(dict.fromkeys(variant or "/" for variant, _ in seen))


@lru_cache(maxsize=4096)
def has_one_variant(path: str) -> bool:
    """Return whether every server reads this path the same way, even if it ignores letter case."""
    return _PLAIN_LOWER_PATH.fullmatch(path) is not None


def _steps(path: str, decoded: int) -> list[tuple[str, int]]:
    steps = []
    if "%" in path and decoded < 2:
        steps += [(decoding, decoded + 1) for decoding in _decodings(path)]
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
        # A wide slash or percent sign becomes the real one, and so do two dots in one character.
        if _MEANINGFUL.findall(compatible) != _MEANINGFUL.findall(path):
            steps.append((compatible, decoded))
    return steps


def _decodings(path: str) -> list[str]:
    """Return a percent-decoded path. If an escape is malformed, also return it as servers repair it.

    Only a decoded path can have such escapes: `/100%25` is valid, and becomes `/100%`.
    """
    malformed = _MALFORMED.search(path)
    if malformed is None:
        return [_decode(path)]
    without_sign, without_escape = _MALFORMED.sub("", path), _MALFORMED_ESCAPE.sub("", path)
    return [_decode(repaired) for repaired in (path, without_sign, without_escape, path[: malformed.start()])]


def _shortest(overlong: re.Match[str]) -> str:
    """Return the character that lenient decoders read in an overlong form. NUL is unchanged."""
    code = (ord(overlong[0][-2]) & 1) << 6 | ord(overlong[0][-1]) & 0x3F
    return chr(code) if code else overlong[0]


def composed(path: str) -> str:
    """Return a path with composed characters (NFC). Canonically equivalent paths become equal."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def folded(path: str) -> str:
    """Return a path as it is compared by backends that ignore letter case and composition.

    Some also compare compatible characters (NFKC, as ZFS can) or ignore invisible ones (HFS+). The path is
    converted to upper case first, because Java's `equalsIgnoreCase` treats a dotless i as an i.
    """
    if path.isascii():
        return path.casefold()
    visible = _IGNORED.sub("", unicodedata.normalize("NFKD", path))
    return unicodedata.normalize("NFKC", visible.upper().casefold())


def _decode(path: str) -> str:
    decoded = unquote_to_bytes(path.encode("utf-8", "surrogateescape"))
    return decoded.decode("utf-8", "surrogateescape")


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
