"""Plans as text, for the commands that show one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from ikd_portal.configuration_file.changes import Change
from ikd_portal.configuration_file.plan import ConfigurationFile, Plan, lines_of, make_plan, people_in_words
from ikd_portal.configuration_file.reconciler import Busy
from ikd_portal.configuration_file.tree import InvalidFile

SHOWN_PROBLEMS = 50


class PlanCommand(BaseCommand):
    """A command that shows a plan first."""

    def show_plan(self, path: Path, *, prunes: bool) -> tuple[ConfigurationFile, Plan]:
        """Print the plan of a file, and return the file with its plan."""
        try:
            file = ConfigurationFile.read(path)
            plan = make_plan(file, prunes=prunes)
        except InvalidFile as invalid:
            raise CommandError(in_words(path, invalid)) from None
        except Busy as error:
            raise CommandError(str(error)) from None
        for line in (*lines_of(plan.changes), *people_in_words(plan.effect)):
            self.stdout.write(line)
        for note in plan.notes:
            self.stdout.write(f"Note: {note}")
        summary = f"Plan: {described(plan.changes)}." if plan.changes else "Nothing to change."
        self.stdout.write(summary)
        return file, plan


def described(changes: list[Change]) -> str:
    """Return how many objects are added, changed and deleted."""
    counts = Counter(change.how for change in changes)
    return ", ".join(f"{counts[how]} {how}" for how in ("added", "changed", "deleted") if counts[how])


def in_words(path: Path, invalid: InvalidFile) -> str:
    """Return the problems of a file, one per line, in the format of compiler messages."""
    lines = [
        f"{path}:{each.line}: {each.text}" if each.line else each.text
        for each in invalid.problems[:SHOWN_PROBLEMS]
    ]
    if len(invalid.problems) > SHOWN_PROBLEMS:
        lines.append(f"… and {len(invalid.problems) - SHOWN_PROBLEMS} more.")
    return "\n".join([*lines, "Nothing was applied."])
