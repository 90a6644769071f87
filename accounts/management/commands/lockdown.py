from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import lockdown
from accounts.models import User
from accounts.privilege import are_the_last_superusers
from authgate.models import Application

BY = "manage.py"


class Command(BaseCommand):
    help = (
        "Lock down a user or an application: end sessions, API tokens and grants, and refuse access until "
        "you run the same command with --undo. It also works while the portal is stopped."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?")
        parser.add_argument("--application", help="name of an application")
        parser.add_argument("--undo", action="store_true", help="undo the lockdown")
        parser.add_argument(
            "--sign-out",
            action="store_true",
            help="sign all users out of the application, without a lockdown",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        username, name = options["username"], options["application"]
        if bool(username) == bool(name):
            raise CommandError("Enter a username, or --application NAME.")
        if options["sign_out"] and (username or options["undo"]):
            raise CommandError("Use --sign-out with --application, and without --undo.")
        if username:
            self._user(_found_user(username), is_undone=options["undo"])
        else:
            self._application(_found_application(name), options)

    def _user(self, user: User, *, is_undone: bool) -> None:
        if is_undone:
            self._print_lifted(user.username, lockdown.lift_user(user, by=BY))
            return
        if are_the_last_superusers(User.objects.filter(pk=user.pk)):
            self.stderr.write("No superuser can sign in now. Undo this with --undo.")
        self._print_ended(lockdown.lock_down_user(user, by=BY))

    def _application(self, application: Application, options: dict[str, Any]) -> None:
        if options["undo"]:
            self._print_lifted(application.name, lockdown.lift_application(application, by=BY))
        elif options["sign_out"]:
            self._print_ended(lockdown.sign_out_of(application, by=BY))
        else:
            self._print_ended(lockdown.lock_down_application(application, by=BY))

    def _print_lifted(self, name: str, was_locked_down: bool) -> None:
        if not was_locked_down:
            raise CommandError(f"{name} is not locked down. Nothing was changed.")
        self.stdout.write(f"{name} is no longer locked down. Ended sessions and tokens stay ended.")

    def _print_ended(self, ended: lockdown.Ended) -> None:
        self.stdout.write(
            f"Ended: sign-ins {ended.sign_ins}, gate sessions {ended.gate_sessions}, API tokens "
            f"{ended.api_tokens}, grants {ended.grants}."
        )
        since = ended.at.isoformat(timespec="seconds")
        for entry in ended.entries:
            used = entry.used_at.isoformat(timespec="seconds")
            entered = entry.entered_at.isoformat(timespec="seconds")
            self.stdout.write(
                f"{entry.application}: last hand-over {entered}, last used {used}, closed since {since}."
            )


def _found_user(username: str) -> User:
    user = User.objects.filter(username__iexact=username).first()
    if user is None:
        raise CommandError(f"There is no user {username!r}.")
    return user


def _found_application(name: str) -> Application:
    application = Application.objects.filter(name=name).first()
    if application is None:
        raise CommandError(f"There is no application {name!r}.")
    return application
