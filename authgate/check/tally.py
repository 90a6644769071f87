"""Tallies, which count answers. A check selects the tally; the code that sends the answer adds one to it.

Explanations in the admin call the same check, but send nothing and so count nothing.
"""

from __future__ import annotations

from typing import Protocol

from authgate.check.context import Context
from authgate.decision.rules import Decision, Subject

NOBODY = 0
"""The user id of visitors who are not signed in."""

ALLOWED, REFUSED, ASKED = OUTCOMES = ("allowed", "refused", "asked")
"""Outcomes of a request. `ASKED` means that a sign-in or a second factor was required."""

Key = tuple[int, int, int, str, str]
"""Application, user, rule, method and outcome. The rule admitted, or was the first that did not."""


class Tally:
    """A count that only grows.

    A cached answer uses its tally as long as `decision` and `method` are those of the request. If `decision`
    is set to None, the tally is retired, and cached answers get another one.
    """

    __slots__ = ("collected", "count", "decision", "key", "method")

    def __init__(self, key: Key | None) -> None:
        self.key = key
        self.decision: Decision | None = None
        self.method: str | None = None
        self.count = self.collected = 0


NOT_COUNTED = Tally(None)
"""The tally of answers that are not counted. Its number has no meaning."""


class Counts(Protocol):
    """The tallies of a process: `worker.tallies`."""

    def once(
        self, application: int, person: int, decision: Decision, method: str | None, outcome: str
    ) -> Tally: ...

    def kept(self, application: int, person: int, decision: Decision, method: str | None) -> Tally: ...

    def watch(self, context: Context, subject: Subject | None) -> None: ...
