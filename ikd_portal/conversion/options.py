"""Options of programs: flags, variables and lines of INI files, each with its line number."""

from __future__ import annotations

import re
from collections.abc import Iterator

Options = dict[str, list[tuple[int, str]]]
"""Values by flag name, each with its line. An option can occur several times."""

_LINE = re.compile(r"(?:-\s+)?[\"']?(?:export\s+)?(--?)?([A-Za-z][\w.-]*)\s*(?:=|:\s|\s|$)\s*(.*)")


def options_in(text: str, prefix: str = "") -> Options:
    """Return the options in a text with one option per line. `prefix` is that of environment variables."""
    found: Options = {}
    for line, entry in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(entry.strip())
        if not match or entry.strip().startswith(("#", ";")):
            continue
        found.setdefault(name_of(match[2], prefix), []).append((line, _unquoted(match[3], entry)))
    return found


def name_of(name: str, prefix: str = "") -> str:
    """Return the name of an option in the spelling of its flag."""
    if name.isupper() or (prefix and name.startswith(prefix)):
        name = name.removeprefix(prefix).lower()
    return name if name.startswith("rule.") else name.replace("_", "-")


def _unquoted(text: str, entry: str) -> str:
    text = text.strip()
    if entry.strip().removeprefix("-").strip()[:1] in ("'", '"') and text.endswith(("'", '"')):
        text = text[:-1]  # the whole entry is quoted, as in a list of YAML
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def listed(options: Options, *names: str) -> Iterator[tuple[int, str]]:
    """Yield the values of options that can be repeated or contain several values with commas."""
    for name in names:
        for line, text in options.get(name, ()):
            yield from ((line, word.strip()) for word in text.split(",") if word.strip())


def single(options: Options, name: str, default: str = "") -> str:
    """Return the value of an option. If it is repeated, the last one wins."""
    values = options.get(name)
    return values[-1][1] if values else default


def line_of(options: Options, name: str) -> int:
    return options[name][-1][0] if name in options else 0


def is_on(options: Options, name: str) -> bool:
    return name in options and single(options, name).lower() in ("", "true", "1", "t", "yes")
