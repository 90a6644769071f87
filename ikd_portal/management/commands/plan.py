from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from ikd_portal.management.plan_output import PlanCommand

CHANGES = 2
"""Exit status with --exit-code if there are changes."""


class Command(PlanCommand, BaseCommand):
    help = "Show what applying a configuration file would change, and whom it affects. Nothing is changed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--prune", action="store_true", help="as if `apply` were run with --prune, which also deletes"
        )
        parser.add_argument(
            "--exit-code", action="store_true", help=f"exit with {CHANGES} if there are changes"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _file, plan = self.show_plan(options["file"], prunes=options["prune"])
        if options["exit_code"] and plan.changes:
            raise SystemExit(CHANGES)
