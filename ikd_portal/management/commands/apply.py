from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ikd_portal.configuration_file.plan import Outdated, apply_plan
from ikd_portal.configuration_file.reconciler import Busy
from ikd_portal.configuration_file.tree import InvalidFile
from ikd_portal.management.plan_output import PlanCommand, described, in_words


class Command(PlanCommand, BaseCommand):
    help = (
        "Bring groups, applications, identity providers and OpenID Connect clients to what a file says, in "
        "one transaction. It shows the plan and asks first."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--plan", action="store_true", help="show the plan only")
        parser.add_argument("--yes", action="store_true", help="apply without a question")
        parser.add_argument(
            "--prune", action="store_true", help="delete what an earlier apply set and the file no longer has"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file, plan = self.show_plan(options["file"], prunes=options["prune"])
        if options["plan"]:
            return
        if plan.changes and not options["yes"]:
            self._ask()
        try:
            apply_plan(file, plan, prunes=options["prune"])
        except InvalidFile as invalid:
            raise CommandError(in_words(file.path, invalid)) from None
        except Busy as error:
            raise CommandError(str(error)) from None
        except Outdated:
            raise CommandError(
                "The database has changed since the plan. Nothing was applied. Try again."
            ) from None
        if plan.changes:
            self.stdout.write(f"Applied: {described(plan.changes)}.")

    def _ask(self) -> None:
        if not sys.stdin.isatty():
            raise CommandError("Nothing was applied. To apply this without a question, repeat with --yes.")
        if input("Apply these changes? Type yes: ").strip() != "yes":
            raise CommandError("Nothing was applied.")
