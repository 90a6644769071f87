from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ikd_portal import copies


class Command(BaseCommand):
    help = "Write the whole database to a new file, while the portal runs. Store the secret keys separately."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            copies.backup(options["file"])
        except copies.NotCopied as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"{options['file']} contains every row, but not the secret keys.")
