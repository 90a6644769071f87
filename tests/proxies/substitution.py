"""Turn a shipped configuration into one that a test can run."""

from __future__ import annotations

import re


def substituted(text: str, replacements: dict[str, str]) -> str:
    """Replace each key by its value, in one pass. Raises KeyError for a key that is not in the text."""
    if not replacements:
        return text
    for key in replacements:
        if key not in text:
            raise KeyError(f"the configuration has no {key!r} any more")
    longest_first = sorted(replacements, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda match: replacements[match[0]], text)
