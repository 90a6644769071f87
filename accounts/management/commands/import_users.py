from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, transaction

from accounts.admin import user_import
from accounts.models import Group
from authgate.audit import record


class Command(BaseCommand):
    help = (
        "Create users from a CSV file (username,display_name,email,groups), or from JSON as `convert` writes "
        "it, with hashes. Existing users are not changed. Without --yes, nothing is created."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--create-groups", action="store_true", help="create groups that do not exist")
        parser.add_argument("--yes", action="store_true", help="create the users; without this, show them")

    def handle(self, *args: Any, **options: Any) -> None:
        people = self._people(options["file"])
        plan = user_import.check(people, is_superuser=True, creates_groups=options["create_groups"])
        for person in plan.people:
            for problem in person.problems:
                self.stderr.write(f"{options['file']}:{person.line}: {person.username}: {problem}")
        if plan.has_problems:
            raise CommandError("Nothing was created.")
        for name in plan.new_groups:
            self.stdout.write(f"+ group {name}")
        for person in plan.people:
            groups = f" ({', '.join(person.groups)})" if person.groups else ""
            mark = "= exists, not changed:" if person.exists else "+ user"
            self.stdout.write(f"{mark} {person.username}{groups}")
        if not options["yes"]:
            raise CommandError("Nothing was created. To create these users, repeat with --yes.")
        self._create(plan)

    def _create(self, plan: user_import.ImportPlan) -> None:
        try:
            with transaction.atomic():
                users = user_import.perform(plan)
                for group in Group.objects.filter(name__in=plan.new_groups):
                    details = {"object": "accounts.group", "key": group.pk, "changes": [{"added": {}}]}
                    record("added", actor="manage.py", subject=group.name, details=details)
                for user in users:
                    details = {"object": "accounts.user", "key": user.pk, "changes": [{"added": {}}]}
                    record("added", actor="manage.py", subject=user.username, details=details)
        except IntegrityError:
            raise CommandError("Such a user was just created. Nothing was created. Try again.") from None
        self.stdout.write(f"Created {len(users)} users.")

    def _people(self, path: Path) -> list[user_import.Person]:
        try:
            content = path.read_bytes()
            if len(content) > user_import.LARGEST_FILE:
                raise CommandError(f"{path} is larger than {user_import.LARGEST_FILE // 1_000_000} MB.")
            text = content.decode()
            is_json = path.suffix == ".json"
            return user_import.people_in_json(text) if is_json else user_import.people_in_csv(text)
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise CommandError(f"{path} is not UTF-8.") from None
        except user_import.UnreadableFile as error:
            raise CommandError(f"{path}: {error}") from None
