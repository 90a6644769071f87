"""The configuration of a proxy for an application, from an administrator's input."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.utils.translation import gettext as _

from authgate.proxy_configuration.facts import (
    BadFact,
    Facts,
    Fault,
    address_from,
    api_path_from,
    hosts_from,
    portal_from,
)
from authgate.proxy_configuration.proxies import KINDS
from authgate.proxy_configuration.shipped import File


@dataclass(frozen=True, slots=True)
class Configuration:
    """The files for a proxy, the main one first, and the application's origins that are not in them."""

    files: tuple[File, ...]
    left_out: tuple[str, ...]


def configuration(
    proxy: str, origins: Iterable[str], backend: str, portal_at: str, api: str
) -> Configuration:
    """Return the files for a proxy in `KINDS`. Raises BadFact for a value that they cannot contain."""
    portal, port = portal_from(settings.IKD_PORTAL_ORIGIN)
    hosts, left_out = hosts_from(origins, portal, port)
    if not hosts:
        raise BadFact("origins", Fault.ORIGINS)
    facts = Facts(
        portal,
        hosts,
        port,
        address_from(backend, "backend"),
        address_from(portal_at, "portal_at"),
        api_path_from(api),
    )
    return Configuration(KINDS[proxy].files(facts), left_out)


def fault_words(problem: BadFact, proxy: str) -> str:
    """Return the text about a wrong value, and what to enter instead."""
    example = KINDS[proxy].examples[problem.field == "portal_at"]
    words = {
        Fault.ADDRESS: _("Enter a host and a port, such as %(example)s."),
        Fault.IP_ADDRESS: _("HAProxy needs an IP address and a port here, such as %(example)s."),
        Fault.SERVICE: _("Enter a Service, its namespace and a port, such as %(example)s."),
        Fault.PATH: _("Enter a path such as /api/. It may have letters, digits and the characters . _ ~ -."),
        Fault.PORTAL: _(
            "The portal's own address (IKD_PORTAL_URL) must be a name after https://, such as "
            "https://sso.example.com."
        ),
        Fault.ORIGINS: _(
            "The application has no origin for a configuration. It needs https, no *, and the portal's port."
        ),
        Fault.HOSTNAMES: _(
            "The Gateway API needs names of letters, digits and hyphens as hosts, and at most 16 for an "
            "application."
        ),
    }
    return words[problem.fault] % {"example": example}
