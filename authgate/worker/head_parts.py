"""Cuts a head into what differs from one request of a page to the next, and the rest that is constant."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

LONGEST = 8_192
"""Bytes of a head that is worth remembering."""

NEVER_READ = (
    "If-None-Match",
    "If-Modified-Since",
    "Range",
    "X-Request-Id",
    "Traceparent",
    "X-Correlation-Id",
)
"""Headers that no check reads, and that differ from one request of a page to the next."""

_PATH = b"\r\nx-forwarded-uri: "
_REFERERS = (b"\r\nReferer: ", b"\r\nreferer: ")
_OTHERS = (*_REFERERS, *(f"\r\n{spelt}: ".encode() for name in NEVER_READ for spelt in (name, name.lower())))
_PLAIN_VALUE = re.compile(rb"[\x21-\x7e]+")
_PLAIN_TEXT = re.compile(rb"[\x20-\x7e]*")
_END = b"\r\n"
_new = tuple.__new__


class Lines(NamedTuple):
    """How the lines whose values are cut out of a head begin, as its sender spells them.

    `path` is empty where no line names the path.
    """

    path: bytes = b""
    others: tuple[bytes, ...] = ()


class Parts(NamedTuple):
    """A head in parts: what it is known by, what of it is constant, its path, and a Referer cut out of it."""

    known_by: bytes
    constant: bytes
    path: bytes
    referer: bytes | None


def lines_in(octets: bytes) -> Lines:
    """Return which lines of a head have values to be cut out."""
    at = octets.lower().find(_PATH)
    if at < 0:
        return Lines()
    return Lines(octets[at : at + len(_PATH)], tuple(name for name in _OTHERS if name in octets))


def parted(octets: bytes, lines: Lines) -> Parts | None:
    """Return the parts of a head, or None for one that is not remembered. `lines` are from `lines_in`.

    Of each line the value is cut out where it comes first, and the name stays, so that no line joins another.
    A value is cut out in a plain form alone. What a Referer leaves is marked: nothing else is known by the
    same key, for no value holds a line's end.
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
