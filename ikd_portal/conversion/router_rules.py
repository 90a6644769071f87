"""Rules of Traefik's router as alternatives. The conditions of an alternative must all hold."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_ALTERNATIVES = 100
DEEPEST = 50

_TOKEN = re.compile(r"\s*(&&|\|\||!|\(|\)|([A-Za-z]+)\(((?:\s*(?:`[^`]*`|\"[^\"]*\")\s*,?)+)\))")
_WORD = re.compile(r"`([^`]*)`|\"([^\"]*)\"")


class UnreadableRule(Exception):
    """A rule that Traefik 1 and 2 could not read."""


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    words: tuple[str, ...]
    is_negated: bool = False


Alternatives = list[list[Condition]]


def alternatives_of(text: str) -> Alternatives:
    """Return a rule as alternatives. Raises UnreadableRule.

    A negation becomes a condition `!`, which no conversion can express.
    """
    parser = _Parser(text)
    found = parser.any_of(0)
    if parser.tokens or not text.strip():
        raise UnreadableRule
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[re.Match[str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise UnreadableRule
            self.tokens.append(match)
            position = match.end()
        self.tokens.reverse()

    def any_of(self, depth: int) -> Alternatives:
        found = self._all_of(depth)
        while self._takes("||"):
            found = found + self._all_of(depth)
        return found

    def _all_of(self, depth: int) -> Alternatives:
        found = self._one(depth)
        while self._takes("&&"):
            more = self._one(depth)
            found = [[*one, *other] for one in found for other in more]
            if len(found) > MOST_ALTERNATIVES:
                raise UnreadableRule
        return found

    def _one(self, depth: int) -> Alternatives:
        if depth > DEEPEST or not self.tokens:
            raise UnreadableRule
        if self._takes("!"):
            self._one(depth + 1)
            return [[Condition("!", (), is_negated=True)]]
        if self._takes("("):
            found = self.any_of(depth + 1)
            if not self._takes(")"):
                raise UnreadableRule
            return found
        token = self.tokens.pop()
        if not token[2]:
            raise UnreadableRule
        words = tuple(one or other for one, other in _WORD.findall(token[3]))
        return [[Condition(token[2], words)]]

    def _takes(self, text: str) -> bool:
        if self.tokens and self.tokens[-1][1] == text:
            self.tokens.pop()
            return True
        return False
