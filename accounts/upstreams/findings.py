"""Findings of a connection test, and how serious each is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import Upstream
from accounts.upstreams.concurrency import provider_slots
from accounts.upstreams.errors import ProviderError
from authgate.event_words import reason_words


class Level(StrEnum):
    GOOD = "good"
    DOUBTFUL = "doubtful"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    text: str


def examine(upstream: Upstream, protocols: Mapping[str, Any]) -> list[Finding]:
    """Test the connection to a provider of any kind, within the limits for sign-ins. Return the findings."""
    protocol = protocols.get(upstream.kind)
    if protocol is None:
        return [Finding(Level.WRONG, _("This kind of provider is not supported yet."))]
    try:
        with provider_slots.hold(upstream.pk or 0):
            return list(protocol.examine(upstream))
    except ProviderError as error:
        return [Finding(Level.WRONG, reason_text(error))]


def reason_text(error: ProviderError) -> str:
    """Return an error's reason as administrators read it in the audit event."""
    return reason_words(error.reason) or error.reason
