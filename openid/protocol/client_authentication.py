"""Credentials by which clients authenticate at the endpoints that only clients use (6749, section 2.3)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from openid.protocol import assertions
from openid.protocol.errors import ProtocolError, invalid_client
from openid.protocol.parameters import Parameters

METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's claimed identity. `secret` is a secret or an assertion, or "" for a public client."""

    client_id: str
    secret: str
    method: str


def credentials_in(authorization: Sequence[str], parameters: Parameters) -> Credentials:
    """Return a request's credentials. `authorization` is the list of its Authorization headers.

    Raises ProtocolError: invalid_request if the client uses two methods at once, invalid_client if none can
    be read.
    """
    parameters.require_single()
    if parameters.get("client_assertion") or parameters.get("client_assertion_type"):
        return _by_assertion(authorization, parameters)
    client_id, secret = parameters.get("client_id"), parameters.get("client_secret")
    if not authorization:
        if not client_id:
            raise invalid_client("the client is not named")
        return Credentials(client_id, secret, "client_secret_post" if secret else "none")
    if len(authorization) > 1 or secret:
        raise ProtocolError("invalid_request", "the client authenticated in two ways")
    name, password = _basic(authorization[0])
    if client_id and client_id != name:
        raise ProtocolError("invalid_request", "the client is named twice, and differently")
    return Credentials(name, password, "client_secret_basic")


def _by_assertion(authorization: Sequence[str], parameters: Parameters) -> Credentials:
    if authorization or parameters.get("client_secret"):
        raise ProtocolError("invalid_request", "the client authenticated in two ways")
    if parameters.get("client_assertion_type") != assertions.TYPE:
        raise invalid_client("the type of the client assertion is not supported")
    assertion, client_id = parameters.get("client_assertion"), parameters.get("client_id")
    named = assertions.client_in(assertion)
    if client_id and client_id != named:
        raise ProtocolError("invalid_request", "the client is named twice, and differently")
    return Credentials(named, assertion, "private_key_jwt")


def _basic(header: str) -> tuple[str, str]:
    """Return name and secret, each decoded as a form's value (section 2.3.1). Raises ProtocolError."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        raise invalid_client("clients authenticate by Basic or in the form")
    try:
        plain = base64.b64decode(text.strip(), validate=True).decode("utf-8")
        name, separator, secret = plain.partition(":")
        name, secret = unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except (binascii.Error, ValueError):
        raise invalid_client("the Basic credentials cannot be read") from None
    if not separator or not name or not secret:
        raise invalid_client("the Basic credentials lack a name or a secret")
    return name, secret
