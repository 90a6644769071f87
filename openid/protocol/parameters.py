"""Parameters of a request, parsed once. A doubled parameter is never used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from openid.protocol.errors import ProtocolError

LONGEST = 16_384
"""Bytes of a query or a body at most."""

MANY = 40
"""Parameters of a request at most."""


class Unreadable(ProtocolError):
    """The parameters cannot be read at all."""

    def __init__(self, description: str) -> None:
        super().__init__("invalid_request", description)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters by name. `doubled` are the names that occur more than once (6749, section 3.1)."""

    values: Mapping[str, str]
    doubled: frozenset[str] = frozenset()

    def get(self, name: str) -> str:
        """Return the value; "" if the parameter is missing, empty or doubled."""
        return "" if name in self.doubled else self.values.get(name, "")

    def require_single(self) -> None:
        """Raise ProtocolError if any parameter is doubled."""
        if self.doubled:
            raise ProtocolError("invalid_request", "a parameter came more than once")


def parse(form: bytes) -> Parameters:
    """Parse a query or a form's body. Raises Unreadable.

    A parameter without a value counts as missing (6749, section 3.1).
    """
    if len(form) > LONGEST:
        raise Unreadable("the request is too long")
    try:
        pairs = parse_qsl(form.decode("utf-8"), keep_blank_values=True, max_num_fields=MANY, errors="strict")
    except ValueError:
        raise Unreadable("the parameters cannot be read") from None
    if any(not value.isprintable() for pair in pairs for value in pair):
        raise Unreadable("a parameter has control characters")
    names = [name for name, _ in pairs]
    doubled = frozenset(name for name in names if names.count(name) > 1)
    return Parameters({name: value for name, value in pairs if value}, doubled)
