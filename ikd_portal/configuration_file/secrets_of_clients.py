"""Secrets of OpenID Connect clients that a file refers to. The database stores only their digests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ikd_portal.configuration_file.changes import Change
from ikd_portal.configuration_file.document import Entry
from ikd_portal.configuration_file.secret_places import NoSecret, read_secret
from ikd_portal.configuration_file.tree import Problem
from openid.client_secrets import LIVE_SECRETS
from openid.grants import digest
from openid.models import Client, ClientSecret

SHORTEST = 32
"""Characters at least. The SHA-256 of a secret that a person invented could be found by guessing."""


def replace(
    entry: Entry, client: Client, change: Change, folder: Path, note: Callable[[Problem], None]
) -> None:
    """Replace the client's secrets by those of the file."""
    line, places = entry.line_of("secrets"), entry.secrets["secrets"]
    if places and (client.is_public or client.jwks or client.jwks_uri):
        note(Problem(line, "A public client, or one with keys, has no secrets."))
        return
    if len(places) > LIVE_SECRETS:
        note(Problem(line, f"A client can have at most {LIVE_SECRETS} secrets."))
        return
    wanted = set()
    for place in places:
        try:
            secret = read_secret(place, folder)
        except NoSecret as error:
            note(error.problem)
            return
        if len(secret) < SHORTEST:
            note(Problem(place.line, f"The secret is too short. Use at least {SHORTEST} random characters."))
            return
        wanted.add(digest(secret))
    _replace_digests(client, wanted, change)


def _replace_digests(client: Client, wanted: set[bytes], change: Change) -> None:
    existing = {bytes(each.digest): each for each in ClientSecret.objects.filter(client=client)}
    for found in existing.keys() - wanted:
        existing[found].delete()
        change.secrets_deleted += 1
    for missing in wanted - existing.keys():
        ClientSecret.objects.create(client=client, digest=missing)
        change.secrets_added += 1
