from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate.models import Application
from authgate.proxy_configuration.configuration import configuration, fault_words
from authgate.proxy_configuration.facts import BadFact
from authgate.proxy_configuration.proxies import KINDS
from authgate.proxy_configuration.shipped import File


class Command(BaseCommand):
    help = "Print the configuration of a proxy for an application, or write its files into a folder."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("application", help="name of the application")
        parser.add_argument("proxy", choices=list(KINDS))
        parser.add_argument(
            "--backend", default="", help="address of the application, as the proxy reaches it"
        )
        parser.add_argument("--portal", default="", help="address of the portal, as the proxy reaches it")
        parser.add_argument("--api", default="", help="path of an API, which is never redirected")
        parser.add_argument("--folder", type=Path, help="write all files there; none of them may exist")

    def handle(self, *args: Any, **options: Any) -> None:
        application = Application.objects.filter(name=options["application"]).first()
        if application is None:
            raise CommandError(f"There is no application {options['application']!r}.")
        proxy = options["proxy"]
        backend, portal = KINDS[proxy].examples
        origins = [origin.value for origin in application.origins.all()]
        try:
            found = configuration(
                proxy, origins, options["backend"] or backend, options["portal"] or portal, options["api"]
            )
        except BadFact as problem:
            raise CommandError(f"{problem.field}: {fault_words(problem, proxy)}") from None
        for origin in found.left_out:
            self.stderr.write(f"Not in the files: {origin}")
        if application.username_header:
            self.stderr.write("Not in the files: the header username. Add it, or clients can forge it.")
        if options["folder"] is None:
            self.stdout.write(found.files[0].text, ending="")
            for file in found.files[1:]:
                self.stderr.write(f"It needs {file.name}: use --folder.")
        else:
            self._write(options["folder"], found.files)

    def _write(self, folder: Path, files: tuple[File, ...]) -> None:
        try:
            for file in files:
                path = folder / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as written:
                    written.write(file.text)
        except OSError as error:
            raise CommandError(str(error)) from None
        self.stdout.write("\n".join(str(folder / file.name) for file in files))
