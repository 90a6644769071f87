from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate import leases
from ikd_portal.tidy import rounds, sqlite


class Command(BaseCommand):
    help = "Delete data that ended longer ago than the settings say. The portal does this every few minutes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--compact",
            action="store_true",
            help="also rewrite SQLite's file without its free pages; users cannot sign in meanwhile",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        holder = rounds.new_holder()
        try:
            done = rounds.go(holder, batches=None)
        except rounds.LeaseLost:
            raise CommandError("Another process is already deleting. Try again in a minute.") from None
        finally:
            leases.release(rounds.LEASE, holder)
        for name, count in done.items():
            self.stdout.write(f"{count} {name}")
        if options["compact"]:
            sqlite.compact()
        self.stdout.write("Tidy.")
