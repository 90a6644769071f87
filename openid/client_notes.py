"""Records of clients' calls: recent errors, and when each secret was last used.

A call only notes it in memory. The thread that writes refusals writes it, so that no call costs a query more,
and no flood of wrong calls a row more than one for each client and kind.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime

from django.utils import timezone

from authgate.audit import printable
from openid.models import Client, ClientSecret, ClientTrouble, SecretUse

USED_AGAIN_AFTER = 600.0
"""Seconds in which a second use of a secret is not noted."""

WRITE_EVERY = 5.0
"""Seconds."""

MOST = 10_000
"""Notes of each sort that a process keeps until they are written."""

_lock = threading.Lock()
_troubles: dict[tuple[int, str], tuple[str, datetime]] = {}
_uses: dict[bytes, datetime] = {}
_noted: dict[bytes, float] = {}
_written_at = -WRITE_EVERY


def note_trouble(client_pk: int, kind: str, detail: str) -> None:
    """Note an error of a client's request. `detail` may come from a stranger, and must hold no secret."""
    with _lock:
        if len(_troubles) < MOST:
            _troubles[client_pk, str(kind)] = (printable(detail, 200), timezone.now())


def note_use(digest: bytes) -> None:
    """Note that a secret was used, by its digest."""
    now = time.monotonic()
    with _lock:
        if now - _noted.get(digest, -USED_AGAIN_AFTER) < USED_AGAIN_AFTER or len(_uses) >= MOST:
            return
        if len(_noted) >= MOST:
            _noted.clear()
        _noted[digest] = now
        _uses[digest] = timezone.now()


def without_query(uri: str) -> str:
    """Return an address without query and fragment, where secrets may stand."""
    return uri.partition("?")[0].partition("#")[0]


def write_now_and_then() -> None:
    """Write what was noted, if the last time is long enough ago."""
    global _written_at
    now = time.monotonic()
    if now - _written_at >= WRITE_EVERY:
        _written_at = now
        write()


def write() -> None:
    """Write what was noted: two queries for each note, and none if there is none."""
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
