"""Checks of this app's settings, for `manage.py check`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from accounts.throttle import limit_of

LIMITS = (
    "IKD_LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS",
    "IKD_LOGIN_LIMIT_PER_ADDRESS",
    "IKD_LOGIN_LIMIT_PER_ACCOUNT",
    "IKD_MAIL_LIMIT_PER_ADDRESS",
    "IKD_MAIL_LIMIT_PER_RECIPIENT",
)


@register()
def check_limits(**kwargs: Any) -> list[CheckMessage]:
    return [_error(name) for name in LIMITS if not _is_limit(getattr(settings, name))]


def _is_limit(text: str) -> bool:
    try:
        limit_of(text)
    except ValueError:
        return False
    return True


def _error(name: str) -> CheckMessage:
    return Error(
        f"{name} must be attempts/seconds such as 5/300 (at most 999 of them), "
        f"is {getattr(settings, name)!r}",
        id="accounts.E001",
    )


@register()
def check_token_limits(**kwargs: Any) -> list[CheckMessage]:
    names = ("IKD_API_TOKEN_LIFETIME", "IKD_API_TOKENS_PER_USER")
    return [
        Error(f"{name} must be 0 or more, is {getattr(settings, name)!r}", id="accounts.E003")
        for name in names
        if getattr(settings, name) < 0
    ]


@register()
def check_reviews(**kwargs: Any) -> list[CheckMessage]:
    if settings.IKD_REVIEW_ACCESS_DAYS == 0 or 30 <= settings.IKD_REVIEW_ACCESS_DAYS <= 3650:
        return []
    text = f"IKD_REVIEW_ACCESS_DAYS must be 0 or 30 to 3650 days, is {settings.IKD_REVIEW_ACCESS_DAYS!r}"
    return [Error(text, id="accounts.E006")]


@register()
def check_registration(**kwargs: Any) -> list[CheckMessage]:
    if settings.IKD_REGISTRATION in ("off", "open", "approval"):
        return []
    text = f"IKD_REGISTRATION must be off, open or approval, is {settings.IKD_REGISTRATION!r}"
    return [Error(text, id="accounts.E004")]


@register()
def check_encryption_keys(**kwargs: Any) -> list[CheckMessage]:
    if all(len(key) >= 32 for key in settings.IKD_ENCRYPTION_KEYS):
        return []
    return [
        Error(
            "IKD_ENCRYPTION_KEYS must be keys of at least 32 characters, one is shorter", id="accounts.E002"
        )
    ]


@register()
def check_argon2(**kwargs: Any) -> list[CheckMessage]:
    """Return errors for Argon2id parameters below the minimum of OWASP's password storage cheat sheet."""
    least = {"IKD_ARGON2_TIME_COST": 2, "IKD_ARGON2_MEMORY_COST": 19_456, "IKD_ARGON2_PARALLELISM": 1}
    return [
        Error(f"{name} must be {number} or more, is {getattr(settings, name)!r}", id="accounts.E005")
        for name, number in least.items()
        if getattr(settings, name) < number
    ]
