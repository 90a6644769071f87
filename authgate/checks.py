"""System checks of the gate's settings, for `manage.py check`."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ValidationError
from django.db import DatabaseError

from authgate.check.contracts import OAUTH2_CHECK
from authgate.decision.target import is_on_same_host
from authgate.models import Origin
from authgate.traces import configuration
from authgate.validation import canonical_cookie_domains


@register()
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Return an error for each setting that would make auth checks fail."""
    found: list[CheckMessage] = [
        Error(
            f"IKD_TRUSTED_PROXIES must be networks such as 10.0.0.0/8 or 192.0.2.7, one is {network!r}",
            id="authgate.E001",
        )
        for network in settings.IKD_TRUSTED_PROXIES
        if not _is_network(network)
    ]
    found += [
        Error(
            f"IKD_DOCTOR_NETWORKS must be networks such as 10.0.0.0/8 or 192.0.2.7, one is {network!r}",
            id="authgate.E006",
        )
        for network in settings.IKD_DOCTOR_NETWORKS
        if not _is_network(network)
    ]
    if settings.IKD_DOCTOR_EVERY and settings.IKD_DOCTOR_EVERY < 3600:
        text = f"IKD_DOCTOR_EVERY must be 0 or at least 3600 seconds, is {settings.IKD_DOCTOR_EVERY}"
        found.append(Error(text, id="authgate.E007"))
    if settings.IKD_OAUTH2_CONTRACT not in OAUTH2_CHECK:
        named = " or ".join(OAUTH2_CHECK)
        text = f"IKD_OAUTH2_CONTRACT must be {named}, is {settings.IKD_OAUTH2_CONTRACT!r}"
        found.append(Error(text, id="authgate.E002"))
    if settings.IKD_FORWARDED_HOPS < 0:
        text = f"IKD_FORWARDED_HOPS must be 0 or more, is {settings.IKD_FORWARDED_HOPS}"
        found.append(Error(text, id="authgate.E003"))
    if configuration.is_wanted() and (missing := configuration.what_is_missing()):
        found.append(Warning(f"No traces are sent: {missing}", id="authgate.W001"))
    if settings.IKD_TRACE_CHECKS < 0:
        text = f"IKD_TRACE_CHECKS must be 0 or more, is {settings.IKD_TRACE_CHECKS}"
        found.append(Error(text, id="authgate.E008"))
    try:
        canonical_cookie_domains(tuple(settings.IKD_SHARED_COOKIE_DOMAINS))
    except ValidationError as mistake:
        text = f"IKD_SHARED_COOKIE_DOMAINS {mistake.messages[0]}, is {settings.IKD_SHARED_COOKIE_DOMAINS!r}"
        found.append(Error(text, id="authgate.E004"))
    return found


@register()
def check_origins(**kwargs: Any) -> list[CheckMessage]:
    """Return an error for each origin on the host of IKD_PORTAL_URL: it receives the portal's cookies.

    Such an origin exists only if IKD_PORTAL_URL was changed later.
    """
    portal = settings.IKD_PORTAL_ORIGIN
    try:
        found = [
            (origin, application)
            for origin, application in Origin.objects.values_list("value", "application__name")
            if is_on_same_host(origin, portal)
        ]
    except DatabaseError:
        return []  # there are no tables yet, or no database: other commands report that
    return [
        Error(
            f"IKD_PORTAL_URL is on the host of the application {application!r} ({origin}): "
            "browsers would send it the portal's session cookie",
            hint="Choose another host for the portal. To remove the origin, start the portal with the "
            "IKD_PORTAL_URL that it had, and delete it at the application.",
            id="authgate.E005",
        )
        for origin, application in found
    ]


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
