"""The interface between the gate and the app that stores users, their credentials and their providers.

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
    """The gate's access to e-mail addresses, credentials for programs, and sign-in providers of users."""

    def has_verified_address(self, user: str) -> Exists:
        """Return the condition "the user's e-mail address is verified".

        `user` is the path to the user, or "pk" in a query for users.
        """

    def load_tokens(self, digests: list[bytes]) -> dict[bytes, Program]:
        """Return the programs of API tokens, by the tokens' digests. Two queries.

        A token is left out if it was ended, or if its user is disabled or lacks a required second factor.
        `Program.counts` compares its expiry.
        """

    def token_named(self, user_id: int, name: str) -> bytes | None:
        """Return the digest of a user's API token with a name. A live token is preferred. One query."""

    def load_issuers(self) -> frozenset[str]:
        """Return the issuers of JWTs that are credentials for programs. One query."""

    def load_credential(
        self, key: bytes, headers: RequestHeaders, memory: Memory
    ) -> tuple[Program | None, bool]:
        """Return the program of a credential, or None, and whether memory may keep this answer."""

    def touch_tokens(self, tokens: list[int], at: datetime) -> None:
        """Record that API tokens were used at `at`, unless a use shortly before is recorded."""

    def provider_tokens(self, sign_in_id: int | None) -> Tokens:
        """Return a sign-in's provider tokens for applications. Tokens that expire soon are refreshed."""

    def provider_sign_out(self, sign_in_id: int | None, then: str | None) -> str | None:
        """Return the URL of the portal's page that leads to the sign-out at a sign-in's provider.

        Return None if the sign-in used no provider. `then` is a validated URL to continue at. The sign-in
        must have ended before a browser requests the page.
        """


_registered: list[People] = []


def register(implementation: People) -> None:
    """Register the implementation. `AppConfig.ready` of the app that keeps users calls it."""
    _registered[:] = [implementation]


def people() -> People:
    """Return the registered implementation. Raises IndexError before Django is set up."""
    return _registered[0]
