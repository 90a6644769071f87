"""Names that look alike, compared by their skeletons (Unicode Technical Standard 39, section 4).

Two names look alike if their skeletons are equal. ASCII letters keep their own skeletons: `rn` is not `m`,
and `1` is not `l`. Readers can distinguish these. Otherwise half of all short names would be taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from functools import lru_cache

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from authgate.validation import INVISIBLE

LONGEST_SKELETON = 300
_DIRECTION = str.maketrans("", "", "\u200e\u200f")
"""Marks that the list of look-alikes puts around letters of right-to-left scripts."""


def skeleton(name: str) -> str:
    """Return the form of a name that is equal for all names that look like it."""
    if name.isascii():
        return name.casefold()[:LONGEST_SKELETON]
    letters = unicodedata.normalize("NFD", INVISIBLE.sub("", unicodedata.normalize("NFKC", name)))
    prototypes = _prototypes()
    folded = "".join(prototypes.get(letter, letter) for letter in letters).casefold()
    # An i or j already has its dot.
    return re.sub("(?<=[ij])\u0307", "", unicodedata.normalize("NFD", folded))[:LONGEST_SKELETON]


def skeletons(name: str) -> set[str]:
    """Return the skeletons of a name as typed and in lower case. Both can look like different names."""
    return {skeleton(name), skeleton(unicodedata.normalize("NFKC", name).casefold())}


def is_disguised(name: str) -> bool:
    """Return whether a name is not ASCII, but each of its letters looks like one ASCII letter."""
    letters = unicodedata.normalize("NFKC", name)
    # Compare each letter alone: a ligature or a sharp s has a skeleton of two letters, but imitates neither.
    return not letters.isascii() and all(
        skeleton(each).isascii() and len(skeleton(each)) == 1 for each in letters
    )


def refuse_disguised_address(email: str) -> None:
    """Raise ValidationError if an address has a non-ASCII letter before the @, such as a dotless i.

    Django's own check accepts four such letters. A program that folds letters would read another user's
    address.
    """
    if not email.rpartition("@")[0].isascii():
        raise ValidationError(_("Use only ASCII characters before the @."), code="look_alike")


@lru_cache(maxsize=1)
def _prototypes() -> dict[str, str]:
    """Return the look-alike of each non-ASCII letter, an ASCII letter if possible."""
    # Imported late: the list takes megabytes, and only non-ASCII names need it.
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
    """Return a sort key. The plainest text comes first, such as an ASCII letter in lower case."""
    return (not text.isascii(), len(text) != 1, not text.isalpha(), not text.islower(), len(text), text)
