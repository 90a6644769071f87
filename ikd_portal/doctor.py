"""The doctor's tests of the portal itself: its identity providers and its mail server."""

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
    """Yield the problems of each enabled provider, from its connection test, or a finding that it passed."""
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
    """Yield whether the mail server accepts a connection and the portal's credentials. It sends nothing."""
    if settings.EMAIL_BACKEND == CONSOLE:
        yield Finding("mail", Level.WARN, "no mail")
        return
    try:
        connection = get_connection()
        connection.open()
        connection.close()
    except OSError as error:
        refusal = refusal_of(error)
        text = str(refusal.get("reply") or refusal.get("reason") or "")
        yield Finding("mail", Level.FAIL, "mail server", {"text": text})
        return
    yield passed("mail")


def register() -> None:
    """Add these tests to every run of the doctor."""
    examinations_of_the_portal[:] = [examine_providers, examine_mail]
