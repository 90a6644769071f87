"""Findings of a run: the test, the seriousness of the result, and the line that fixes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    PASS = "pass"  # noqa: S105 (no password)
    WARN = "warn"
    FAIL = "fail"


ORDER = (Level.PASS, Level.WARN, Level.FAIL)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one test. `words` has the text for `reason` and `values`; `line` is for the proxy."""

    test: str
    level: Level
    reason: str = ""
    values: dict[str, str] = field(default_factory=dict)
    line: str = ""
    origin: str = ""

    def as_values(self) -> dict[str, Any]:
        """Return the finding as values for JSON."""
        return {
            "test": self.test,
            "level": self.level.value,
            "reason": self.reason,
            "values": self.values,
            "line": self.line,
            "origin": self.origin,
        }


def passed(test: str, reason: str = "", **values: str) -> Finding:
    return Finding(test, Level.PASS, reason, values)


def finding_from(values: dict[str, Any]) -> Finding:
    """Return a finding from its JSON values."""
    level = Level(values["level"])
    return Finding(
        values["test"], level, values["reason"], values["values"], values["line"], values["origin"]
    )


def worst(findings: Iterable[Finding]) -> Level:
    """Return the most serious level."""
    return max((finding.level for finding in findings), key=ORDER.index, default=Level.PASS)
