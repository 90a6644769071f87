"""Names that look alike, compared by their skeletons (Unicode Technical Standard 39, section 4).

Two names look alike if their skeletons are equal. ASCII letters stand for themselves: `rn` is not `m`, and
`1` is not `l`, because a reader can tell both apart, and half of all short names would otherwise be taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from functools import lru_cache

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from authgate.validation import NO_INK

LONGEST_SKELETON = 300
_DIRECTION = str.maketrans("", "", "\u200e\u200f")
"""Marks that the list puts around letters of right-to-left scripts."""


def skeleton(name: str) -> str:
    """Return the form in which all names that look alike are equal."""
    if name.isascii():
        return name.casefold()[:LONGEST_SKELETON]
    letters = unicodedata.normalize("NFD", NO_INK.sub("", unicodedata.normalize("NFKC", name)))
    prototypes = _prototypes()
    folded = "".join(prototypes.get(letter, letter) for letter in letters).casefold()
    # An i or j already has its dot.
    return re.sub("(?<=[ij])\u0307", "", unicodedata.normalize("NFD", folded))[:LONGEST_SKELETON]


def skeletons(name: str) -> set[str]:
    """Return the skeletons of a name as typed and in small letters, which can look like different names."""
    return {skeleton(name), skeleton(unicodedata.normalize("NFKC", name).casefold())}


def is_disguised(name: str) -> bool:
    """Return whether each letter of a name beyond ASCII looks like a letter of ASCII."""
    letters = unicodedata.normalize("NFKC", name)
    # Letter by letter: a ligature or a sharp s reads as two letters, but does not imitate them.
    return not letters.isascii() and all(
        skeleton(each).isascii() and len(skeleton(each)) == 1 for each in letters
    )


def refuse_disguised_address(email: str) -> None:
    """Raise ValidationError for a letter beyond ASCII before the @, such as a dotless i.

    Django's own check lets four of them in, and programs that fold letters read another user's address.
    """
    if not email.rpartition("@")[0].isascii():
        raise ValidationError(_("Use only ASCII characters before the @."), code="look_alike")


@lru_cache(maxsize=1)
def _prototypes() -> dict[str, str]:
    """Return what each letter beyond ASCII looks like, a letter of ASCII if possible."""
    # Imported late: the list takes megabytes, and only names beyond ASCII need it.
    from confusable_homoglyphs.confusables import confusables_data

    kin: dict[str, set[str]] = defaultdict(set)
    for letter, others in confusables_data.items():
        for other in others:
            pair = letter.translate(_DIRECTION), other["c"].translate(_DIRECTION)
            kin[pair[0]].add(pair[1])
            kin[pair[1]].add(pair[0])
    found: dict[str, str] = {}
    for start in sorted(kin):
        if start in found:
            continue
        group, waiting = {start}, [start]
        while waiting:
            new = kin[waiting.pop()] - group
            group |= new
            waiting += new
        found |= dict.fromkeys(group, min(group, key=_plainness))
    return {letter: to for letter, to in found.items() if len(letter) == 1 and not letter.isascii()}


def _plainness(text: str) -> tuple[bool, bool, bool, bool, int, str]:
    """Return a sort key by which the plainest text comes first, such as a small letter of ASCII."""
    return (not text.isascii(), len(text) != 1, not text.isalpha(), not text.islower(), len(text), text)
