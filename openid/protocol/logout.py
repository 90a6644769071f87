"""RP-initiated logout (RPL, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from openid.protocol.parameters import Parameters


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    id_token_hint: str
    client_id: str
    redirect_uri: str
    state: str


def parse(parameters: Parameters) -> LogoutRequest:
    """Return a logout request. Raises ProtocolError if a parameter is doubled."""
    parameters.require_single()
    return LogoutRequest(
        parameters.get("id_token_hint"),
        parameters.get("client_id"),
        parameters.get("post_logout_redirect_uri"),
        parameters.get("state"),
    )
