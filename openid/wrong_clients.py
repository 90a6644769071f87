"""Limits the cost of clients with wrong credentials. Each network has a budget of failed attempts.

Beyond it, requests are refused without a query. A client that authenticated before always passes, even if
others in its network send wrong secrets.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict

from authgate.network_limits import WrongTries
from openid.protocol.client_authentication import Credentials
from openid.protocol.errors import ProtocolError

MAX_REMEMBERED = 4_096
"""Clients that a process remembers as authenticated."""

WAIT = 1
"""Seconds in the Retry-After header of a refused client."""

_lock = threading.Lock()
_wrong = WrongTries()
_right: OrderedDict[bytes, None] = OrderedDict()


def require_room(credentials: Credentials, address: str) -> None:
    """Raise ProtocolError if an address recently sent too many wrong credentials, unless these are known."""
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
        while len(_right) > MAX_REMEMBERED:
            _right.popitem(last=False)


def _key(credentials: Credentials) -> bytes:
    """Return the key for a client's credentials. Assertions are left out because they differ each time."""
    secret = "" if credentials.method == "private_key_jwt" else credentials.secret
    named = "\0".join((credentials.method, credentials.client_id, secret))
    return hashlib.sha256(named.encode("utf-8", "replace")).digest()
