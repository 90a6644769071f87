"""Errors as the RFCs name them, grouped by who receives the answer."""

from __future__ import annotations


class ProtocolError(Exception):
    """An error that the client receives as JSON (6749, section 5.2).

    `challenge` is the WWW-Authenticate header of a 401, and `retry_after` that of a 429 in seconds.
    """

    def __init__(
        self, error: str, description: str, *, status: int = 400, challenge: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description = error, description
        self.status, self.challenge, self.retry_after = status, challenge, retry_after


class Unredirectable(Exception):
    """An authorization request with a wrong client or redirect URI. Only the user sees it (3.1.2.4)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AuthorizationError(Exception):
    """An error that the browser carries to the client's redirect URI (6749, section 4.1.2.1)."""

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description = error, description


def invalid_client(description: str) -> ProtocolError:
    """Return the error for a client that failed to authenticate. The challenge is always Basic (5.2)."""
    return ProtocolError("invalid_client", description, status=401, challenge='Basic realm="openid"')
