"""Limits what clients with wrong credentials cost: beyond a budget of their network, nothing is looked up.

A client that proved who it is before passes always, whoever else sends wrong secrets from its network.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict

from authgate.network_limits import WrongTries
from openid.protocol.client_authentication import Credentials
from openid.protocol.errors import ProtocolError

KEPT = 4_096
"""Clients of which a process remembers that they proved who they are."""

WAIT = 1
"""Seconds that a refused client is told to wait."""

_lock = threading.Lock()
_wrong = WrongTries()
_right: OrderedDict[bytes, None] = OrderedDict()


def require_room(credentials: Credentials, address: str) -> None:
    """Raise ProtocolError if an address sent too many wrong credentials lately, and these are not known."""
    with _lock:
        if _key(credentials) in _right or not _wrong.is_full(address, time.time()):
            return
    raise ProtocolError(
        "temporarily_unavailable", "too many wrong requests came from here", status=429, retry_after=WAIT
    )


def note_wrong(address: str) -> None:
    with _lock:
        _wrong.note(address, time.time())


def note_right(credentials: Credentials) -> None:
    with _lock:
        _right[_key(credentials)] = None
        while len(_right) > KEPT:
            _right.popitem(last=False)


def _key(credentials: Credentials) -> bytes:
    """Return what a client is known by. Its assertions differ each time, and so do not count."""
    secret = "" if credentials.method == "private_key_jwt" else credentials.secret
    named = "\0".join((credentials.method, credentials.client_id, secret))
    return hashlib.sha256(named.encode("utf-8", "replace")).digest()
