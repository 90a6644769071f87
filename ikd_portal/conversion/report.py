"""What a conversion did not carry over, with its line."""

from __future__ import annotations

from dataclasses import dataclass, field


class NotConverted(Exception):
    """A configuration that cannot be read, in words for its administrator."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that is not carried over, or only in part. Line 0 is the whole file."""

    line: int
    text: str


@dataclass(slots=True)
class Report:
    findings: set[Finding] = field(default_factory=set)

    def note(self, line: int, text: str) -> None:
        self.findings.add(Finding(line, text))

    def lines(self, name: str) -> list[str]:
        """Return the findings as compilers write them."""
        return [
            f"{name}:{each.line}: {each.text}" if each.line else f"{name}: {each.text}"
            for each in sorted(self.findings)
        ]
