"""`manage.py check`: how long rows are kept, at least."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

DAY = 24 * 3600
FLOORS = {
    "IKD_KEEP_SESSIONS": DAY,
    "IKD_KEEP_INVITATIONS": DAY,
    "IKD_KEEP_API_TOKENS": DAY,
    "IKD_KEEP_REFUSALS": DAY,
    "IKD_KEEP_REQUEST_COUNTS": DAY,
    "IKD_KEEP_CONFIGURATION_EVENTS": DAY,
    "IKD_KEEP_SIGN_IN_EVENTS": 30 * DAY,
    "IKD_KEEP_SECURITY_EVENTS": 90 * DAY,
    "IKD_KEEP_JOURNAL": 90 * DAY,
    "IKD_KEEP_ACCESS_REVIEWS": 90 * DAY,
}
"""Minimums, so that an attacker who becomes an administrator cannot erase all traces by a setting."""


@register()
def check_kept(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = [
        Error(
            f"{name} must be at least {floor} seconds, is {getattr(settings, name)!r}", id="ikd_portal.E001"
        )
        for name, floor in FLOORS.items()
        if getattr(settings, name) < floor
    ]
    if settings.IKD_TIDY_EVERY < 0:
        text = f"IKD_TIDY_EVERY must be 0 or more, is {settings.IKD_TIDY_EVERY!r}"
        found.append(Error(text, id="ikd_portal.E002"))
    return found
