"""Warnings about valid settings of applications that probably do not work as intended."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

from authgate.decision.target import without_port
from authgate.models import (
    Application,
    Origin,
    Rule,
)


def warnings_about(application: Application) -> list[str]:
    """Return warnings about valid settings that probably do not work as intended."""
    warnings = list(_warnings_about_shared_hosts(application))
    rules = list(application.rules.prefetch_related("groups", "users"))
    if all(rule.only_watch for rule in rules):
        return [*warnings, gettext("The application has no rule, so no user has access.")]
    return warnings + [warning for rule in rules for warning in _warnings_about_rule(rule)]


def _warnings_about_shared_hosts(application: Application) -> Iterator[str]:
    """Yield warnings about other applications on the same host, because browsers share cookies among them."""
    for origin in application.origins.all():
        host = without_port(origin.value).partition("://")[2]
        on_host = Q()
        for scheme in ("https", "http"):
            on_host |= Q(value=f"{scheme}://{host}") | Q(value__startswith=f"{scheme}://{host}:")
        other = Origin.objects.filter(on_host).exclude(application=application).select_related("application")
        for taken in other[:1]:
            yield gettext(
                "%(origin)s is on the same host as the application “%(other)s”, and browsers send cookies "
                "to every port. If the proxy cannot remove cookies (Traefik, ingress-nginx), each "
                "application receives the sessions of the other. Use a different host name."
            ) % {"origin": origin.value, "other": taken.application}


def _warnings_about_rule(rule: Rule) -> Iterator[str]:
    names_somebody = bool(rule.groups.all() or rule.users.all())
    if rule.who == Rule.Who.CHOSEN and not names_somebody:
        yield gettext("The rule for %s gives no user access. Select groups or users for it.") % rule.path
    if rule.who != Rule.Who.CHOSEN and names_somebody:
        yield gettext(
            "The rule for %(path)s admits %(who)s. The groups and users selected for it have no effect."
        ) % {
            "path": rule.path,
            "who": rule.get_who_display(),
        }
    if rule.expires_at is not None and rule.expires_at <= timezone.now():
        yield gettext("The rule for %s has expired and no longer gives access.") % rule.path
