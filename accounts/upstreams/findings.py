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
    """Return the findings for a provider of any kind, within the limits for sign-ins."""
    protocol = protocols.get(upstream.kind)
    if protocol is None:
        return [Finding(Level.WRONG, _("This kind of provider is not supported yet."))]
    try:
        with provider_slots.hold(upstream.pk or 0):
            return list(protocol.examine(upstream))
    except ProviderError as error:
        return [Finding(Level.WRONG, words_of(error))]


def words_of(error: ProviderError) -> str:
    """Return what an administrator reads of an error: the words of its audit event."""
    return reason_words(error.reason) or error.reason
