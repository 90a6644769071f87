"""What a check reads: settings made ready, applications and sessions. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from authgate.contracts import Contract
from authgate.decision import Application, Subject
from authgate.target import Target


@dataclass(frozen=True, slots=True)
class Session:
    """A gate session as a check needs it. Times are Unix time."""

    origin: str
    sign_in_id: int
    subject: Subject
    expires_at: float
    idle_at: float

    def is_live(self, now: float) -> bool:
        return now < self.expires_at and now < self.idle_at


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """What the refused page tells. `application` is empty for people whom nobody may tell."""

    decision_id: str
    target: Target
    application: str = ""
    username: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GateSettings:
    portal_origin: str
    trusted_proxies: tuple[str, ...]
    forwarded_hops: int
    checks: dict[str, Contract]
    state_keys: tuple[bytes, ...]
    render_refused: Callable[[RefusedPage], bytes]


@dataclass(slots=True)
class Memory:
    """Applications by origin and sessions by token digest; None for one known not to exist."""

    settings: GateSettings
    applications: dict[str, Application | None] = field(default_factory=dict)
    sessions: dict[bytes, Session | None] = field(default_factory=dict)
    random: Callable[[int], bytes] = os.urandom
