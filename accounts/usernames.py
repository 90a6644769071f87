"""Names that people choose, or that a provider chooses for them: none may pass for somebody it is not.

Administrators give whatever names they like. An application may take `admin` for its own administrator.
"""

from __future__ import annotations

import re
import unicodedata

from accounts.backends import name_key

OF_POWER = frozenset(
    (
        "abuse", "admin", "administrator", "administration", "anonymous", "anonymoususer", "daemon",
        "everybody", "everyone", "helpdesk", "hostmaster", "ikd", "ikdportal", "mailerdaemon", "moderator",
        "nobody", "noreply", "null", "operator", "owner", "portal", "postmaster", "root", "security", "staff",
        "sudo", "superuser", "support", "sysadmin", "system", "sysop", "undefined", "webmaster",
    )
)  # fmt: skip
"""Read without case, digits and punctuation, so that `Admin_2` is one of them."""

_NO_LETTERS = re.compile(r"[\W\d_]+")
_LOOK_ALIKE = frozenset(("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"))
"""Scripts with letters that look like another's. A name has letters of one of them at most."""


def is_misleading(username: str) -> bool:
    """Tell whether a name sounds like one of power, like an address, or hides letters of another script."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in username}
    return (
        "@" in unicodedata.normalize("NFKC", username)
        or not username.strip(".-+_")
        or _NO_LETTERS.sub("", name_key(username)) in OF_POWER
        or len(scripts & _LOOK_ALIKE) > 1
    )
