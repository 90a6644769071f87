from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.onboarding.first_administrator import is_needed, make_link


class Command(BaseCommand):
    help = "Print a one-time link, valid for an hour, that creates the first administrator."

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_needed():
            raise CommandError(
                "An administrator already exists. To create another, sign in as administrator and use the "
                "admin, or run: manage.py createsuperuser"
            )
        self.stdout.write(make_link())
