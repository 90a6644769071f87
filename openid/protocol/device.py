"""The device authorization grant (8628): its request, and the code that users type."""

from __future__ import annotations

import re
import secrets

from openid.protocol.authorization import SCOPES
from openid.protocol.errors import ProtocolError
from openid.protocol.parameters import Parameters

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Upper-case consonants without Y. They form no words and include no look-alikes (section 6.1)."""

LENGTH = 8
_TYPED = re.compile(r"[\s\-_.\u2010-\u2015]+")


def new_user_code() -> str:
    """Return eight random letters, about 34 bits. The portal limits attempts to guess them."""
    return "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


def normalised(typed: str) -> str:
    """Return a typed user code as it is stored; "" if invalid. Spaces, dashes and case are ignored."""
    code = _TYPED.sub("", typed[:64]).upper()
    return code if len(code) == LENGTH and set(code) <= set(LETTERS) else ""


def shown(code: str) -> str:
    return f"{code[:4]}-{code[4:]}"


def scopes_of(parameters: Parameters, allowed: frozenset[str]) -> tuple[str, ...]:
    """Return the scopes of a device authorization request. Raises ProtocolError (section 3.1)."""
    parameters.require_single()
    asked = parameters.get("scope").split()
    if "openid" not in asked:
        raise ProtocolError("invalid_scope", "the scope openid is missing")
    return tuple(each for each in SCOPES if each in asked and (each == "openid" or each in allowed))
