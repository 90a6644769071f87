"""Where the portal's own files are, and its data by default: in a checkout or after `pip install`."""

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
    """Return IKD_VAR, or the default: the checkout's `var`, root's, or the user's folder for data."""
    if named := os.environ.get("IKD_VAR"):
        return Path(named)
    if IS_CHECKOUT:
        return ROOT / "var"
    return default_folder(os.geteuid(), os.environ.get("XDG_DATA_HOME", ""))


def demo_folder() -> Path:
    """Return IKD_VAR, or the demo's default: outside of a checkout, it keeps apart from a real portal."""
    folder = var_folder()
    return folder if IS_CHECKOUT or os.environ.get("IKD_VAR") else folder.with_name("ikd-portal-demo")


def default_folder(user: int, data_home: str) -> Path:
    """Return where data are outside of a checkout.

    `data_home` counts only if it is absolute (XDG Base Directory Specification 0.8). A user without a home
    folder gets a folder that cannot be created, and so a message that names IKD_VAR.
    """
    if user == 0:
        return Path("/var/lib/ikd-portal")
    home = Path(data_home) if data_home.startswith("/") else Path("~/.local/share")
    try:
        return home.expanduser() / "ikd-portal"
    except RuntimeError:
        return Path("/nonexistent/ikd-portal")
