"""Code that the importers of proxies share: applications for origins, and the provider that they used."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from authgate.validation import canonical_origin
from ikd_portal.conversion.report import NotConverted, Report

GOOGLE = "https://accounts.google.com"


def canonical_origins(origins: Iterable[str]) -> list[str]:
    """Return origins in canonical form, without repetitions. Raises NotConverted."""
    try:
        found = [canonical_origin(each, without_https=False) for each in origins]
    except ValidationError as error:
        raise NotConverted(f"--origin: {' '.join(error.messages)}") from None
    if not found:
        raise NotConverted("It does not say which origins it protects. Name each with --origin.")
    return list(dict.fromkeys(found))


def provider(
    name: str,
    issuer: str,
    client_id: str,
    report: Report,
    *,
    groups: dict[str, str] | None = None,
    claim: str = "",
) -> dict[str, Any]:
    """Return a provider for the configuration file. It names a place for the secret and never copies it."""
    variable = re.sub(r"\W", "_", name).upper()
    report.note(0, "The redirect URI of the portal differs. Register it at the provider.")
    report.note(0, f"The client secret is not copied. Put it into PORTAL_SECRET_{variable}.")
    values: dict[str, Any] = {
        "name": name,
        "issuer": issuer,
        "client_id": client_id,
        "client_secret": {"environment": f"PORTAL_SECRET_{variable}"},
    }
    if groups:
        values["group_mappings"] = [
            {"claim": claim, "value": value, "group": group, "mode": "mirror"}
            for value, group in sorted(groups.items())
        ]
    return {re.sub(r"[^a-z0-9-]", "-", name.lower()): values}


def name_of_origin(origin: str) -> str:
    return urlsplit(origin).netloc
