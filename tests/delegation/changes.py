"""Changes on the pages of owners and group managers, with their confirmation."""

from __future__ import annotations

from typing import Any

from django.test import Client

from tests.admin.forms import confirm


def change(browser: Client, url: str, fields: dict[str, Any], *, follow: bool = False) -> Any:
    """Post a form, confirm its effect if one is shown, and return the last response."""
    return confirm(browser, browser.post(url, fields, follow=follow))
