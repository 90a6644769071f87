"""Rules for usernames that users or providers choose: no name may imitate another user's.

An application may treat a user `admin` as its own administrator. Administrators may assign any name, except
one that looks like another user's (accounts/look_alikes.py). Display names have no rules: two users may have
the same one, and applications do not identify users by it.
"""

from __future__ import annotations

import re
import unicodedata

from accounts.backends import name_key
from accounts.look_alikes import is_disguised, skeleton
from authgate.validation import INVISIBLE

POWERFUL_NAMES = frozenset(
    (
        "abuse", "admin", "administrator", "administration", "anonymous", "anonymoususer", "daemon",
        "everybody", "everyone", "helpdesk", "hostmaster", "ikd", "ikdportal", "mailerdaemon", "moderator",
        "nobody", "noreply", "null", "operator", "owner", "portal", "postmaster", "root", "security", "staff",
        "sudo", "superuser", "support", "sysadmin", "system", "sysop", "undefined", "webmaster",
    )
)  # fmt: skip
"""Compared without case, digits and punctuation, so `Admin_2` is one of them."""

_NO_LETTERS = re.compile(r"[\W\d_]+")
_LOOK_ALIKE = frozenset(("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"))
"""Scripts with letters that look alike. A name may have letters of only one of them."""


def is_misleading(username: str) -> bool:
    """Return whether a name suggests power or an address, has hidden letters, or imitates ASCII letters."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in username}
    return (
        "@" in unicodedata.normalize("NFKC", username)
        or not username.strip(".-+_")
        or INVISIBLE.search(username) is not None
        or not POWERFUL_NAMES.isdisjoint(
            _NO_LETTERS.sub("", each) for each in (name_key(username), skeleton(username))
        )
        or is_disguised(username)
        or len(scripts & _LOOK_ALIKE) > 1
    )
