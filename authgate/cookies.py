"""The one parser of the Cookie header, for the check, the views and the portal's own session.

Django's strips every Unicode space from a name, and a sibling host can set `\\u2003__Host-ikd_gate` for
the whole domain: browsers keep the prefix's promise for the exact name only. So this one strips ASCII
space and tab alone, compares bytes, and gives nothing for a name that comes twice.
"""

from __future__ import annotations

from collections.abc import Iterable


def cookies_in(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Give the cookies of a request (RFC 6265, section 4.2.1), doubled names left out.

    Names and values are latin-1 text, so that every byte is kept. Header names are lower case.
    """
    found: dict[str, str] = {}
    doubled: set[str] = set()
    for header, line in headers:
        if header != b"cookie":
            continue
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
