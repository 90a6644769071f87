from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate import leases
from authgate.doctor import rounds
from authgate.doctor.examination import examine
from authgate.doctor.findings import Finding, Level, worst
from authgate.doctor.words import LEVELS, label_of, text_of
from authgate.models import Application

WAITS = 30
"""Seconds that the command waits for another run to end."""


class Command(BaseCommand):
    help = (
        "Test the proxy of each application, through its public address, and the portal's own connections. "
        "Exits with 1 if a test failed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("applications", nargs="*", metavar="APPLICATION", help="name; default: all")
        parser.add_argument("--path", action="append", default=[], help="test this path, too (repeatable)")
        parser.add_argument("--at", default="", help="connect to this address, not to what the DNS says")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        applications = self._named(options["applications"])
        if any(not path.startswith("/") or not path.isprintable() for path in options["path"]):
            raise CommandError("A path begins with / and has no control characters.")
        found = self._examined(applications, options)
        if options["json"]:
            values = {
                name: [finding.as_values() | _texts(finding) for finding in each] for name, each in found
            }
            self.stdout.write(json.dumps(values, indent=2, ensure_ascii=False))
        else:
            self._write(found)
        if worst(finding for _, each in found for finding in each) is Level.FAIL:
            raise SystemExit(1)

    def _named(self, names: list[str]) -> list[Application]:
        if not names:
            return list(Application.objects.order_by("name"))
        found = {each.name: each for each in Application.objects.filter(name__in=names)}
        for name in names:
            if name not in found:
                raise CommandError(f"No application is named {name!r}.")
        return [found[name] for name in dict.fromkeys(names)]

    def _examined(
        self, applications: list[Application], options: dict[str, Any]
    ) -> list[tuple[str, list[Finding]]]:
        """Return the findings by application, "" for the portal. Only runs without options store reports."""
        holder = self._hold()
        if not (options["path"] or options["at"]):
            reports = rounds.run(applications, holder=holder, with_portal=not options["applications"])
            return [
                (report.application.name if report.application else "", rounds.findings_of(report))
                for report in reports
            ]
        try:
            paths = tuple(options["path"])
            return [(each.name, examine(each, paths=paths, at=options["at"])) for each in applications]
        finally:
            leases.release(rounds.LEASE, holder)

    def _hold(self) -> str:
        holder, until = rounds.new_holder(), time.monotonic() + WAITS
        while True:
            try:
                rounds.hold(holder)
                return holder
            except rounds.Busy:
                if time.monotonic() > until:
                    raise CommandError("Another run is under way. Try again in a minute.") from None
                time.sleep(1)

    def _write(self, found: list[tuple[str, list[Finding]]]) -> None:
        for name, findings in found:
            self.stdout.write(self.style.MIGRATE_HEADING(name or "Portal"))
            for finding in findings:
                self.stdout.write(f"  {LEVELS[finding.level]}: {label_of(finding)}. {text_of(finding)}")
                if finding.line:
                    self.stdout.write(f"    {finding.line}")


def _texts(finding: Finding) -> dict[str, str]:
    return {"label": label_of(finding), "text": text_of(finding)}
