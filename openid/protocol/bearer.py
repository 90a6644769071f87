"""Access tokens in requests (6750). Only the Authorization header is accepted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from openid.protocol.errors import ProtocolError
from openid.protocol.parameters import Parameters

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def token_in(authorization: Sequence[str], query: Parameters) -> str:
    """Return the token of a request. Raises ProtocolError; its error is "" if there is no token (3.1)."""
    if "access_token" in query.values or "access_token" in query.doubled:
        raise refused("invalid_request", "an access token must not stand in the query", status=400)
    if not authorization:
        raise refused("", "no access token")
    if len(authorization) > 1:
        raise refused("invalid_request", "Authorization came more than once", status=400)
    scheme, _, token = authorization[0].partition(" ")
    if scheme.lower() != "bearer":
        raise refused("", "no access token")
    if not _TOKEN.fullmatch(token):
        raise invalid_token()
    return token


def invalid_token() -> ProtocolError:
    return refused("invalid_token", "the access token is unknown, expired or revoked")


def refused(error: str, description: str, *, status: int = 401) -> ProtocolError:
    """Return an error with the challenge of section 3."""
    details = f', error="{error}", error_description="{description}"' if error else ""
    return ProtocolError(error, description, status=status, challenge=f'Bearer realm="openid"{details}')
