"""Checks before the server listens: folders must be writable and settings readable."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress

from authgate.folders import NotWritable, make_private, require_writable, temporary_folder
from ikd_portal.installation import var_folder


def mistake() -> str:
    """Return the first mistake that prevents workers from starting, in one line, or ""."""
    try:
        if not all(map(os.environ.get, ("DATABASE_URL", "IKD_SECRET_KEY", "IKD_ENCRYPTION_KEYS"))):
            require_writable(var_folder())
        temporary_folder(var_folder())
        with suppress(OSError):
            make_private(var_folder() / "static")  # for collectstatic; WhiteNoise warns without it
        importlib.import_module(os.environ.get("DJANGO_SETTINGS_MODULE") or "ikd_portal.settings")
    except NotWritable as problem:
        return str(problem)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    except Exception as error:  # usually ImproperlyConfigured, which cannot be imported without Django
        return str(error) or type(error).__name__
    return ""
