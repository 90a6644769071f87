from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ikd_portal import copies


class Command(BaseCommand):
    help = (
        "Copy the whole database to an empty one, from SQLite to PostgreSQL or back, and compare every row."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", help="as in DATABASE_URL")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            copies.move(options["url"])
        except copies.NotCopied as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write("Every row is the same. Set DATABASE_URL and start the portal.")
