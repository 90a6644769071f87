from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.machines.api_tokens import TooManyTokens, make_token
from accounts.models import User
from authgate.audit import record
from authgate.models import Application

DAY = 86_400


class Command(BaseCommand):
    help = "Create an API token for a user and print it. It cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", required=True, help="what the token is for")
        parser.add_argument(
            "--application", action="append", required=True, help="name of an application; can be repeated"
        )
        parser.add_argument("--days", type=float, default=90, help="days until it expires")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username__iexact=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']!r}.")
        applications = [self._application(name) for name in options["application"]]
        try:
            row, token = make_token(user, options["name"][:100], applications, options["days"] * DAY)
        except TooManyTokens:
            most = settings.IKD_API_TOKENS_PER_USER
            raise CommandError(f"{user.username} has {most} tokens (IKD_API_TOKENS_PER_USER).") from None
        except ValueError:
            days = settings.IKD_API_TOKEN_LIFETIME / DAY
            text = f"A token can last up to {days:g} days (IKD_API_TOKEN_LIFETIME), not {options['days']:g}."
            raise CommandError(text) from None
        details = {"token": row.pk, "name": row.name, "applications": [each.name for each in applications]}
        record("token_made", actor="manage.py", subject=user.username, details=details)
        self.stdout.write(token)

    def _application(self, name: str) -> Application:
        found = Application.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"There is no application {name!r}.")
        return found
