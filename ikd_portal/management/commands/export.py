from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from ikd_portal.configuration_file.export import exported
from ikd_portal.management.new_file import write_new


class Command(BaseCommand):
    help = (
        "Print groups, applications, identity providers and OpenID Connect clients as a configuration file, "
        "without secrets."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", type=Path, help="a new file, in place of standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        text = exported()
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        write_new(options["output"], text)
        self.stdout.write(f"{options['output']} has the configuration, without secrets.")
