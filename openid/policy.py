"""Whether the rules of a client's application admit a user. Each step of the protocol asks again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from accounts.models import User
from authgate.decision.evaluation import decide as decide_request
from authgate.decision.rules import (
    MAINTENANCE,
    NO_RULE,
    Application,
    Decision,
    Maintenance,
    Subject,
    Verdict,
)
from authgate.decision.target import Target
from authgate.models import SignIn
from authgate.worker import loader as loading
from openid import token_feed
from openid.models import Client

ONE_FACTOR, TWO_FACTORS = "1fa", "2fa"
ACR_VALUES = (ONE_FACTOR, TWO_FACTORS)

_AMR = {"password": ("pwd",), "totp": ("otp",), "webauthn": ("hwk",), "recovery_codes": ("otp",)}
"""Authentication methods (8176) for the portal's own method names."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision with the facts that it was based on."""

    decision: Decision
    subject: Subject
    application: Application | None
    target: Target

    @property
    def is_allowed(self) -> bool:
        return self.decision.verdict is Verdict.ALLOW

    @property
    def maintenance(self) -> Maintenance | None:
        """The maintenance that keeps the user out, or None."""
        if self.application is None or self.decision.reason != MAINTENANCE:
            return None
        return self.application.maintenance


def decide(client: Client, user: User, sign_in: SignIn, address: str | None) -> Ruling:
    """Decide by the rules for the path `/`. Rules about networks use `address`."""
    application = token_feed.application(client.application_id)
    return ruling_of(application, loading.subject_of(user, sign_in), address)


def ruling_of(application: Application | None, subject: Subject, address: str | None) -> Ruling:
    """Decide by an application's rules for the path `/`. If the application is gone, refuse."""
    target = Target("", "GET", "/", address or "")
    if application is None:
        return Ruling(Decision(Verdict.REFUSE, NO_RULE), subject, None, target)
    return Ruling(decide_request(application, target, subject, time.time()), subject, application, target)


def acr_of(subject: Subject) -> str:
    return TWO_FACTORS if subject.second_factor else ONE_FACTOR


def amr_of(sign_in: SignIn, subject: Subject) -> list[str]:
    found = [value for method in sign_in.methods for value in _AMR.get(method, ())]
    return list(dict.fromkeys([*found, *(["mfa"] if subject.second_factor else [])]))


def satisfies(acr: str, wanted: frozenset[str]) -> bool:
    """Return whether an acr value satisfies the wanted ones. Two factors satisfy a request for one."""
    return acr in wanted or (acr == TWO_FACTORS and ONE_FACTOR in wanted)
