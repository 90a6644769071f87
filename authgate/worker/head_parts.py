"""Splits a request head into the values that differ between the requests of a page, and the constant rest."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

LONGEST = 8_192
"""Bytes of a head, at most. A longer head is not cached."""

NEVER_READ = (
    "If-None-Match",
    "If-Modified-Since",
    "Range",
    "X-Request-Id",
    "Traceparent",
    "X-Correlation-Id",
)
"""Headers that no check reads, and that differ between the requests of a page."""

_PATH = b"\r\nx-forwarded-uri: "
_REFERERS = (b"\r\nReferer: ", b"\r\nreferer: ")
_OTHERS = (*_REFERERS, *(f"\r\n{spelt}: ".encode() for name in NEVER_READ for spelt in (name, name.lower())))
_PLAIN_VALUE = re.compile(rb"[\x21-\x7e]+")
_PLAIN_TEXT = re.compile(rb"[\x20-\x7e]*")
_END = b"\r\n"
_new = tuple.__new__


class Lines(NamedTuple):
    """The beginnings of the lines that lose their values, as the sender of a head spells them.

    `path` is empty if no line contains the path.
    """

    path: bytes = b""
    others: tuple[bytes, ...] = ()


class Parts(NamedTuple):
    """The parts of a head: its cache key, its constant bytes, its path, and the Referer that was cut out."""

    known_by: bytes
    constant: bytes
    path: bytes
    referer: bytes | None


def lines_in(octets: bytes) -> Lines:
    """Return the lines of a head that lose their values."""
    at = octets.lower().find(_PATH)
    if at < 0:
        return Lines()
    return Lines(octets[at : at + len(_PATH)], tuple(name for name in _OTHERS if name in octets))


def split_head(octets: bytes, lines: Lines) -> Parts | None:
    """Return the parts of a head, or None if it is not cached. `lines` are from `lines_in`.

    Only the first value of each line is cut out, and only if it is plain. The name stays, so that two lines
    never join. The key is marked if a Referer was cut out. Different heads have different keys, because no
    value contains a line's end.
    """
    path_line, others = lines
    at = octets.find(path_line)
    start = at + len(path_line)
    end = octets.find(_END, start)
    if at <= 0 or end < 0 or len(octets) > LONGEST:
        return None
    path, constant, referer = octets[start:end], octets[:start] + octets[end:], None
    for name in others:
        at = constant.find(name)
        if at < 0:
            continue
        start = at + len(name)
        end = constant.find(_END, start)
        if name not in _REFERERS:
            if not _PLAIN_TEXT.fullmatch(constant, start, end):
                continue
        elif referer is None and _PLAIN_VALUE.fullmatch(constant, start, end):
            referer = constant[start:end]
        else:
            continue
        constant = constant[:start] + constant[end:]
    known_by = sha256(constant).digest()
    return _new(Parts, (known_by if referer is None else known_by + b"r", constant, path, referer))
