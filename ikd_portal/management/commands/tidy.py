from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate import leases
from ikd_portal.tidy import rounds, sqlite


class Command(BaseCommand):
    help = "Delete everything that ended long enough ago. The portal does the same every few minutes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--compact",
            action="store_true",
            help="also write SQLite's file again without its free pages; nobody can sign in meanwhile",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        holder = rounds.new_holder()
        try:
            done = rounds.go(holder, batches=None)
        except rounds.LeaseLost:
            raise CommandError("Another process tidies now. Try again in a minute.") from None
        finally:
            leases.release(rounds.LEASE, holder)
        for name, count in done.items():
            self.stdout.write(f"{count} {name}")
        if options["compact"]:
            sqlite.compact()
        self.stdout.write("Tidy.")
