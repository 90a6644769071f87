"""Records about clients: recent errors, and the last use of each secret.

Requests only note them in memory. The thread that writes refusals writes them later. So no request costs an
extra query, and a flood of wrong requests adds one row for each client and kind at most.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime

from django.utils import timezone

from authgate.audit import printable
from openid.models import Client, ClientSecret, ClientTrouble, SecretUse

NOTE_AGAIN_AFTER = 600.0
"""Seconds after a noted use during which further uses of the same secret are not noted."""

WRITE_EVERY = 5.0
"""Seconds between two writes at least."""

MOST = 10_000
"""Notes of each kind that a process keeps in memory until it writes them."""

_lock = threading.Lock()
_troubles: dict[tuple[int, str], tuple[str, datetime]] = {}
_uses: dict[bytes, datetime] = {}
_noted: dict[bytes, float] = {}
_written_at = -WRITE_EVERY


def note_trouble(client_pk: int, kind: str, detail: str) -> None:
    """Note an error in a client's request. `detail` may come from a stranger and must contain no secret."""
    with _lock:
        if len(_troubles) < MOST:
            _troubles[client_pk, str(kind)] = (printable(detail, 200), timezone.now())


def note_use(digest: bytes) -> None:
    """Note that a secret was used. `digest` is its SHA-256."""
    now = time.monotonic()
    with _lock:
        if now - _noted.get(digest, -NOTE_AGAIN_AFTER) < NOTE_AGAIN_AFTER or len(_uses) >= MOST:
            return
        if len(_noted) >= MOST:
            _noted.clear()
        _noted[digest] = now
        _uses[digest] = timezone.now()


def without_query(uri: str) -> str:
    """Return a URI without its query and fragment, which may contain secrets."""
    return uri.partition("?")[0].partition("#")[0]


def write_if_due() -> None:
    """Write the notes if the last write is at least `WRITE_EVERY` seconds ago."""
    global _written_at
    now = time.monotonic()
    if now - _written_at >= WRITE_EVERY:
        _written_at = now
        write()


def write() -> None:
    """Write the notes: two queries for each, and no query if there are none."""
    with _lock:
        troubles, uses = dict(_troubles), dict(_uses)
        _troubles.clear()
        _uses.clear()
    known = Client.objects.in_bulk([pk for pk, _ in troubles]) if troubles else {}
    for (pk, kind), (detail, at) in troubles.items():
        if pk in known:
            ClientTrouble.objects.update_or_create(
                client_id=pk,
                kind=kind,
                defaults={"detail": detail, "last_at": at},
                create_defaults={"detail": detail, "last_at": at, "first_at": at},
            )
    for secret in ClientSecret.objects.filter(digest__in=list(uses)) if uses else ():
        SecretUse.objects.update_or_create(secret=secret, defaults={"at": uses[bytes(secret.digest)]})
