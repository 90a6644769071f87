from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ikd_portal.configuration_file.parser import parse
from ikd_portal.configuration_file.tree import InvalidFile, read_text
from ikd_portal.configuration_file.writer import written
from ikd_portal.conversion import authelia, oauth2_proxy, people, traefik_forward_auth
from ikd_portal.conversion.report import NotConverted, Report
from ikd_portal.management.new_file import write_new


class Command(BaseCommand):
    help = (
        "Convert the configuration of another portal to a configuration file, and report what cannot be "
        "carried over. Nothing is applied. Read the result, and continue with `import_users` and `plan`."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        programs = parser.add_subparsers(dest="program", required=True)
        for name, text in (
            ("authelia", "its configuration.yml"),
            ("oauth2-proxy", "its configuration file, or a file with a flag or variable on each line"),
            ("traefik-forward-auth", "its INI file, or a file with a flag or variable on each line"),
            ("htpasswd", "a file of users"),
        ):
            program = programs.add_parser(name, help=text)
            program.add_argument("file", type=Path, help=text)
            if name == "authelia":
                program.add_argument("--users", type=Path, help="its file of users")
            if name in ("oauth2-proxy", "traefik-forward-auth"):
                program.add_argument(
                    "--origin",
                    action="append",
                    default=[],
                    help="an origin that it protects, such as https://wiki.example.com; can be repeated",
                )
            if name == "oauth2-proxy":
                program.add_argument("--emails", type=Path, help="its authenticated_emails_file")
            program.add_argument("--output", type=Path, default=Path("portal.yaml"), help="a new file")
            program.add_argument(
                "--people",
                type=Path,
                default=Path("users.json"),
                help="a new file for users with their hashes",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        report, of_users = Report(), Report()
        try:
            values, users = self._converted(options, report, of_users)
        except (NotConverted, InvalidFile) as problem:
            raise CommandError(f"{options['file']}: {problem}") from None
        if values is not None:
            self._write(options["output"], written(values))
        if users:
            self._write(options["people"], people.as_json(users))
        lines = [*report.lines(str(options["file"])), *of_users.lines(str(options.get("users")))]
        for line in lines:
            self.stdout.write(line)
        self.stdout.write(f"Not carried over, or only in part: {len(lines)}.")

    def _converted(
        self, options: dict[str, Any], report: Report, of_users: Report
    ) -> tuple[dict[str, Any] | None, people.People]:
        text, program = read_text(options["file"]), options["program"]
        if program == "authelia":
            users = options["users"]
            found = people.of_authelia(parse(read_text(users)), of_users) if users else []
            return authelia.convert(parse(text), report), found
        if program == "htpasswd":
            return None, people.of_htpasswd(text, report)
        if program == "traefik-forward-auth":
            return traefik_forward_auth.convert(text, options["origin"], report)
        listed = read_text(options["emails"]).lower().splitlines() if options["emails"] else []
        emails = dict.fromkeys(line.strip() for line in listed if line.strip() and line[0] != "#")
        return oauth2_proxy.convert(text, options["origin"], report, [*emails])

    def _write(self, path: Path, text: str) -> None:
        """Write a new file that only the calling user can read."""
        write_new(path, text, 0o600)
        self.stdout.write(f"Wrote {path}.")
