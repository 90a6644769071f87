"""Secrets that an installation creates on first use."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from authgate.folders import make_private


def read_or_create(path: Path) -> str:
    """Return the secret in the file `path`. Create it on first use (256 bits, mode 0600).

    If two processes start together, both get the same secret. Each writes a draft beside the file and links
    it into place, which fails for the second. Raises OSError if the folder is not writable.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    make_private(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
