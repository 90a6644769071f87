"""Header names that many applications confuse with the portal's. A proxy should not pass them on."""

from __future__ import annotations

from django.conf import settings

from authgate.check.contracts import FORWARDED, ORIGINAL, checks
from authgate.peer import is_trusted_peer
from authgate.worker.write_behind import writer

IDENTITY = (
    *(
        b"x-auth-request-" + name
        for name in (b"user", b"email", b"groups", b"preferred-username", b"access-token")
    ),
    *(b"remote-" + name for name in (b"user", b"email", b"groups", b"name")),
    b"x-forwarded-user",
    b"x-ikd-jwt",
)
ALIASES = frozenset(
    name.replace(b"-", mark) for name in (*FORWARDED, *ORIGINAL, *IDENTITY) for mark in (b"_", b".")
)
"""The names with underscores or dots instead of dashes."""


def note_aliases(path: str, peer: str | None) -> None:
    """Queue a configuration event: a trusted proxy passes on header names with underscores or dots."""
    if is_trusted_peer(peer):
        contract = checks(settings.IKD_OAUTH2_CONTRACT)[path]
        writer.note_configuration(contract.name, "", "header names with underscores or dots pass the proxy")
