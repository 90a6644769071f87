"""Errors as the RFCs name them, and to whom each is answered."""

from __future__ import annotations


class ProtocolError(Exception):
    """An error that is answered to the client as JSON (6749, section 5.2).

    `challenge` is the WWW-Authenticate header of a 401, and `retry_after` that of a 429 in seconds.
    """

    def __init__(
        self, error: str, description: str, *, status: int = 400, challenge: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description = error, description
        self.status, self.challenge, self.retry_after = status, challenge, retry_after


class Unredirectable(Exception):
    """An authorization request whose client or redirect URI is wrong: only the user is told (3.1.2.4)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AuthorizationError(Exception):
    """An error that the browser carries to the client's redirect URI (6749, section 4.1.2.1)."""

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description = error, description


def invalid_client(description: str) -> ProtocolError:
    """Return the refusal of a client that did not prove who it is. The challenge is always Basic (5.2)."""
    return ProtocolError("invalid_client", description, status=401, challenge='Basic realm="openid"')
