"""Paths of the portal's files, and of its data by default, in a checkout or after `pip install`."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
"""The checkout, or the folder into which pip installed the packages."""

_SHIPPED = PACKAGE / "shipped"
IS_CHECKOUT = not _SHIPPED.is_dir()
FILES = ROOT if IS_CHECKOUT else _SHIPPED
"""The folder of `templates`, `static`, `locale` and `deploy`. `pyproject.toml` puts them into the wheel."""

DEMO_PACKAGES = "pip install " + ("-r requirements-demo.txt" if IS_CHECKOUT else "'ikd-portal[demo]'")


def var_folder() -> Path:
    """Return IKD_VAR, or its default: `var` in the checkout, root's folder, or the user's data folder."""
    if named := os.environ.get("IKD_VAR"):
        return Path(named)
    if IS_CHECKOUT:
        return ROOT / "var"
    return default_folder(os.geteuid(), os.environ.get("XDG_DATA_HOME", ""))


def demo_folder() -> Path:
    """Return IKD_VAR, or the demo's default. Outside of a checkout, it is not the portal's own default."""
    folder = var_folder()
    return folder if IS_CHECKOUT or os.environ.get("IKD_VAR") else folder.with_name("ikd-portal-demo")


def default_folder(user: int, data_home: str) -> Path:
    """Return the default folder for data outside of a checkout.

    `data_home` is used only if it is absolute (XDG Base Directory Specification 0.8). A user without a home
    folder gets a path that cannot be created. The error message then names IKD_VAR.
    """
    if user == 0:
        return Path("/var/lib/ikd-portal")
    home = Path(data_home) if data_home.startswith("/") else Path("~/.local/share")
    try:
        return home.expanduser() / "ikd-portal"
    except RuntimeError:
        return Path("/nonexistent/ikd-portal")
