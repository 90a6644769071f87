"""Requests to the token endpoint (6749, sections 4.1.3 and 6), to revoke (7009) and to introspect (7662)."""

from __future__ import annotations

from dataclasses import dataclass

from openid.protocol import device
from openid.protocol.errors import ProtocolError
from openid.protocol.parameters import Parameters


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """A request to exchange a code for tokens."""

    code: str
    redirect_uri: str
    verifier: str


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """A request to exchange a refresh token. `scopes` are None to keep the token's own."""

    token: str
    scopes: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A request to exchange a device code (8628, section 3.4)."""

    device_code: str


def parse(parameters: Parameters) -> CodeRequest | RefreshRequest | DeviceRequest:
    """Return the kind of request with its values. Raises ProtocolError."""
    parameters.require_single()
    kind = parameters.get("grant_type")
    if not kind:
        raise ProtocolError("invalid_request", "grant_type is missing")
    if kind == "authorization_code":
        return _code_request(parameters)
    if kind == "refresh_token":
        return _refresh_request(parameters)
    if kind == device.GRANT_TYPE:
        return _device_request(parameters)
    raise ProtocolError("unsupported_grant_type", "the grant type is not supported")


def _code_request(parameters: Parameters) -> CodeRequest:
    code, redirect_uri = parameters.get("code"), parameters.get("redirect_uri")
    if not code or not redirect_uri:
        raise ProtocolError("invalid_request", "code or redirect_uri is missing")
    return CodeRequest(code, redirect_uri, parameters.get("code_verifier"))


def _refresh_request(parameters: Parameters) -> RefreshRequest:
    token, scope = parameters.get("refresh_token"), parameters.get("scope")
    if not token:
        raise ProtocolError("invalid_request", "refresh_token is missing")
    return RefreshRequest(token, frozenset(scope.split()) if scope else None)


def _device_request(parameters: Parameters) -> DeviceRequest:
    code = parameters.get("device_code")
    if not code:
        raise ProtocolError("invalid_request", "device_code is missing")
    return DeviceRequest(code)


def narrowed(asked: frozenset[str] | None, granted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes of a refreshed token. Raises ProtocolError if they exceed the grant (section 6)."""
    if asked is None:
        return granted
    if not asked <= set(granted):
        raise ProtocolError("invalid_scope", "the scope exceeds what was granted")
    return tuple(each for each in granted if each in asked)


def token_named(parameters: Parameters) -> str:
    """Return the token that a request asks to revoke or introspect. Raises ProtocolError."""
    parameters.require_single()
    token = parameters.get("token")
    if not token:
        raise ProtocolError("invalid_request", "token is missing")
    return token
