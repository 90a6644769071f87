"""What the doctor tests of the portal itself: its identity providers and its mail server."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.mail import get_connection

from accounts.models import Upstream
from accounts.smtp import refusal_of
from accounts.upstreams import findings as of_provider
from accounts.upstreams.protocols import PROTOCOLS
from authgate.doctor.findings import Finding, Level, passed
from authgate.doctor.rounds import examinations_of_the_portal

LEVELS = {of_provider.Level.DOUBTFUL: Level.WARN, of_provider.Level.WRONG: Level.FAIL}
CONSOLE = "django.core.mail.backends.console.EmailBackend"


def examine_providers() -> Iterator[Finding]:
    """Yield what is wrong with each enabled provider, as its connection test says, or that it answers."""
    for upstream in Upstream.objects.filter(enabled=True).order_by("pk"):
        problems = [
            each
            for each in of_provider.examine(upstream, PROTOCOLS)
            if each.level is not of_provider.Level.GOOD
        ]
        for problem in problems:
            values = {"name": upstream.name, "text": problem.text}
            yield Finding("provider", LEVELS[problem.level], "provider", values)
        if not problems:
            yield passed("provider", "provider", name=upstream.name)


def examine_mail() -> Iterator[Finding]:
    """Yield whether the mail server accepts a connection and the portal's credentials. Nothing is sent."""
    if settings.EMAIL_BACKEND == CONSOLE:
        yield Finding("mail", Level.WARN, "no mail")
        return
    try:
        connection = get_connection()
        connection.open()
        connection.close()
    except OSError as error:
        told = refusal_of(error)
        text = str(told.get("reply") or told.get("reason") or "")
        yield Finding("mail", Level.FAIL, "mail server", {"text": text})
        return
    yield passed("mail")


def register() -> None:
    """Let every run of the doctor make these tests."""
    examinations_of_the_portal[:] = [examine_providers, examine_mail]
