"""A report of what a conversion left out, with line numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


class NotConverted(Exception):
    """A configuration that cannot be read. The text is for its administrator."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that is left out, or converted only in part. Line 0 is the whole file."""

    line: int
    text: str


@dataclass(slots=True)
class Report:
    findings: set[Finding] = field(default_factory=set)

    def note(self, line: int, text: str) -> None:
        self.findings.add(Finding(line, text))

    def lines(self, name: str) -> list[str]:
        """Return the findings in the format of compiler messages."""
        return [
            f"{name}:{each.line}: {each.text}" if each.line else f"{name}: {each.text}"
            for each in sorted(self.findings)
        ]
