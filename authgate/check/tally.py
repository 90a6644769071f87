"""What counts answers. A check only picks the tally of its answer, and what sends the answer adds one to it.

So the admin's explanations, which call the same check, count nothing.
"""

from __future__ import annotations

from typing import Protocol

from authgate.check.context import Context
from authgate.decision.rules import Decision, Subject

NOBODY = 0
"""Stands for visitors who are not signed in."""

ALLOWED, REFUSED, ASKED = OUTCOMES = ("allowed", "refused", "asked")
"""What came of a request. The last is for a sign-in or a second factor."""

Key = tuple[int, int, int, str, str]
"""Application, person, rule, method and outcome. The rule admitted, or is the first of those that did not."""


class Tally:
    """A count that only grows.

    An answer that is kept fits its tally while `decision` and `method` are those of the request. To retire
    a tally is to set `decision` to None: then kept answers look for another one.
    """

    __slots__ = ("collected", "count", "decision", "key", "method")

    def __init__(self, key: Key | None) -> None:
        self.key = key
        self.decision: Decision | None = None
        self.method: str | None = None
        self.count = self.collected = 0


NOT_COUNTED = Tally(None)
"""The tally of answers that nobody counts. Its number means nothing."""


class Counts(Protocol):
    """The tallies of a process: `worker.tallies`."""

    def once(
        self, application: int, person: int, decision: Decision, method: str | None, outcome: str
    ) -> Tally: ...

    def kept(self, application: int, person: int, decision: Decision, method: str | None) -> Tally: ...

    def watch(self, context: Context, subject: Subject | None) -> None: ...
