"""What the gate asks of the app that keeps users, their credentials and their providers.

That app implements `People` and registers itself when Django starts. The gate never imports it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from django.db.models import Exists

from authgate.check.memory import Memory, Program, Tokens
from authgate.check.request import RequestHeaders

if TYPE_CHECKING:
    pass


class People(Protocol):
    """Users' addresses, their credentials for programs, and the providers that they sign in with."""

    def has_verified_address(self, user: str) -> Exists:
        """Return the condition "the user's address is verified".

        `user` is the path to the user, or "pk" in a query for users.
        """

    def load_tokens(self, digests: list[bytes]) -> dict[bytes, Program]:
        """Return what API tokens stand for, by their digests. Two queries.

        A token is left out if it has ended, or if its user is disabled or lacks a required second factor.
        Its end in time is left to `Program.counts`.
        """

    def token_named(self, user_id: int, name: str) -> bytes | None:
        """Return the digest of a user's API token by its name, a live one before ended ones. One query."""

    def load_issuers(self) -> frozenset[str]:
        """Return the issuers whose JWTs are credentials for programs. One query."""

    def load_credential(
        self, key: bytes, headers: RequestHeaders, memory: Memory
    ) -> tuple[Program | None, bool]:
        """Return what a program's credential stands for, and whether memory may keep the answer."""

    def touch_tokens(self, tokens: list[int], at: datetime) -> None:
        """Note that API tokens were used at a moment, unless a use shortly before it is noted."""

    def provider_tokens(self, sign_in_id: int | None) -> Tokens:
        """Return the provider's tokens of a sign-in for applications, renewed if they expire soon."""

    def provider_sign_out(self, sign_in_id: int | None, then: str | None) -> str | None:
        """Return the portal's page that leads to the sign-out at the provider of a sign-in.

        None if the sign-in came without a provider. `then` is a validated URL to continue at. The sign-in
        must have ended before a browser requests the page.
        """


_registered: list[People] = []


def register(implementation: People) -> None:
    """Register the implementation. `AppConfig.ready` of the app that keeps users calls it."""
    _registered[:] = [implementation]


def people() -> People:
    """Return the registered implementation. Raise IndexError before Django is set up."""
    return _registered[0]
