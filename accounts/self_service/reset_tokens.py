"""Keys in the links for a new password. allauth loads this module by the name in the settings."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import EmailAwarePasswordResetTokenGenerator


class ResetTokenGenerator(EmailAwarePasswordResetTokenGenerator):
    """Keys that no longer work after the account was locked: an attacker may have asked for them before."""

    def _make_hash_value(self, user: Any, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.locked_at or ''}"
