"""`var/demo.json`: facts about the demo for scripts and for the demo's next run.

While the demo starts, the file has another name. Once it has its final name, everything answers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from demo.cast import PORTAL_HOST, SITES, url_of
from ikd_portal.run import NotReady

READY = "demo.json"
STARTING = "demo.json.starting"


def describe(port: int, passwords: dict[str, str]) -> dict[str, Any]:
    """Return the notes of a demo on that port."""
    return {
        "portal": url_of(PORTAL_HOST, port),
        "connect": f"127.0.0.1:{port}",
        "applications": {site.name: {"url": site.url(port), "who": site.who()} for site in SITES},
        "users": passwords,
    }


def read(var: Path) -> dict[str, Any] | None:
    """Return the notes of the last run, or None before the first. Raises NotReady."""
    for name in (STARTING, READY):
        try:
            notes: dict[str, Any] = json.loads((var / name).read_text())
        except FileNotFoundError:
            continue
        except ValueError:
            raise NotReady(f"{var / name} is damaged: move {var} away and begin anew.") from None
        return notes
    return None


def write(var: Path, notes: dict[str, Any]) -> None:
    """Write the notes under the name for starting, readable only by this user."""
    draft = var / f"{STARTING}.draft"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps(notes, indent=2) + "\n")
    draft.replace(var / STARTING)
    (var / READY).unlink(missing_ok=True)


def publish(var: Path) -> Path:
    """Rename the notes to their final name and return the path."""
    return (var / STARTING).replace(var / READY)
