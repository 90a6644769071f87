from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.onboarding.first_administrator import is_wanted, make_link


class Command(BaseCommand):
    help = "Print a one-time link, good for an hour, that makes the first administrator."

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_wanted():
            raise CommandError(
                "There is an administrator already. To make another, sign in as one and use the admin, "
                "or run: manage.py createsuperuser"
            )
        self.stdout.write(make_link())
