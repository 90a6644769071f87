"""Checks before the server listens: folders can be written, and settings can be read."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from pathlib import Path

from authgate.folders import NotWritable, make_private, require_writable, temporary_folder

ROOT = Path(__file__).resolve().parent.parent


def var_folder() -> Path:
    return Path(os.environ.get("IKD_VAR") or ROOT / "var")


def mistake_in_settings() -> str:
    """Return the mistake that prevents workers from reading the settings, in one line; empty without one.

    A child process reads them: the master keeps none of the portal's code, so that a reload takes new code.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, _mistake().encode(errors="replace")[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def _mistake() -> str:
    try:
        if not all(map(os.environ.get, ("DATABASE_URL", "IKD_SECRET_KEY", "IKD_ENCRYPTION_KEYS"))):
            require_writable(var_folder())
        temporary_folder(var_folder())
        with suppress(OSError):
            make_private(var_folder() / "static")  # collectstatic's; WhiteNoise warns where it is missing
        importlib.import_module(os.environ.get("DJANGO_SETTINGS_MODULE") or "ikd_portal.settings")
    except NotWritable as problem:
        return str(problem)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    except Exception as error:  # ImproperlyConfigured above all, which cannot be imported without Django
        return str(error) or type(error).__name__
    return ""
