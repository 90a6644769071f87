"""Reads secrets that a file refers to, from the environment or from files.

The portal's own secrets are excluded. Otherwise a file could send the portal's key to a provider as its
client secret.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from ikd_portal.configuration_file.document import SecretPlace
from ikd_portal.configuration_file.tree import Problem

PREFIX = "PORTAL_SECRET_"
"""Prefix of the environment variables that may hold such a secret."""

LARGEST_SECRET = 4096
SHARED_FOLDER = Path("/run/secrets")
"""Where containers find their secrets."""


class NoSecret(Exception):
    """A secret that cannot be read, reported as a problem of the file."""

    def __init__(self, line: int, text: str) -> None:
        self.problem = Problem(line, text)
        super().__init__(text)


def read_secret(place: SecretPlace, folder: Path) -> str:
    """Return a secret. `folder` is that of the file. Raises NoSecret, which never quotes the secret."""
    if place.kind == "environment":
        return _from_environment(place)
    secret = _from_file(place, folder)
    if not secret or "\n" in secret or not secret.isprintable():
        raise NoSecret(place.line, f"{place.name} must contain one line with the secret, and nothing else.")
    return secret


def _from_environment(place: SecretPlace) -> str:
    if not place.name.startswith(PREFIX):
        raise NoSecret(place.line, f"The name of a variable with a secret begins with {PREFIX}.")
    secret = os.environ.get(place.name, "").strip()
    if not secret:
        raise NoSecret(place.line, f"The environment has no {place.name}, or an empty one.")
    return secret


def _from_file(place: SecretPlace, folder: Path) -> str:
    path = (folder / place.name).resolve()
    _require_place_of_secrets(place, path, folder)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_SECRET + 1)
    except OSError as error:
        raise NoSecret(place.line, f"{place.name} cannot be read: {error.strerror}.") from None
    if len(content) > LARGEST_SECRET:
        raise NoSecret(place.line, f"{place.name} is too large for a secret.")
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise NoSecret(place.line, f"{place.name} is not UTF-8.") from None


def _require_place_of_secrets(place: SecretPlace, path: Path, folder: Path) -> None:
    allowed = [folder.resolve(), SHARED_FOLDER]
    if credentials := os.environ.get("CREDENTIALS_DIRECTORY"):
        allowed.append(Path(credentials).resolve())
    is_own = path.is_relative_to(Path(settings.IKD_VAR).resolve())
    if is_own or not any(path.is_relative_to(each) for each in allowed):
        places = f"the folder of the configuration file, {SHARED_FOLDER} or $CREDENTIALS_DIRECTORY"
        raise NoSecret(
            place.line, f"{place.name}: secrets must be in {places}, and not in the portal's data."
        )
