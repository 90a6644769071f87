from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from authgate.audit import record
from authgate.identity_jwt import rotate


class Command(BaseCommand):
    help = "Create a new key for X-Ikd-Jwt. It signs after ten minutes, when every application can have it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--at-once",
            action="store_true",
            help="sign with the new key now and withdraw all others, if an attacker may have a key",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        key = rotate(at_once=options["at_once"])
        record("signing_key_made", actor="manage.py", details={"key": key.kid, "at_once": options["at_once"]})
        self.stdout.write(f"{key.kid} signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC on")
