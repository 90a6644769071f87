"""Cells of the admin's tables: moments and user agents."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.safestring import SafeString

from accounts.sign_in.devices import browser_named
from authgate.admin import list_columns

register = template.Library()


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """Return a date and time in one line, with the full form as its title, or a dash."""
    return list_columns.moment(at) or "-"


@register.filter
def browser_name(user_agent: str) -> str:
    return browser_named(user_agent)
