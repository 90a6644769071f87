from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from authgate.audit import record
from ikd_portal import copies


class Command(BaseCommand):
    help = "Replace the whole database with a backup, in one transaction. Every user has to sign in again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--keep-sessions",
            action="store_true",
            help="keep the backup's sign-ins, also of users who signed out after it was made",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        keeps = options["keep_sessions"]
        try:
            copies.restore(options["file"], settings.IKD_VAR, keep_sessions=keeps)
        except copies.NotCopied as problem:
            raise CommandError(str(problem)) from None
        record("restored", actor="manage.py", details={"sessions_kept": keeps})
        self.stdout.write(
            f"Restored {options['file']}." + ("" if keeps else " Every user has to sign in again.")
        )
