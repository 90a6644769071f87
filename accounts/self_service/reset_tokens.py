"""Keys in the links for a new password. allauth imports the class by its name in the settings."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import EmailAwarePasswordResetTokenGenerator


class ResetTokenGenerator(EmailAwarePasswordResetTokenGenerator):
    """Keys that become invalid when the account is locked, because an attacker may have requested them."""

    def _make_hash_value(self, user: Any, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.locked_at or ''}"
