"""The portal's own rules for new passwords, besides Django's."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from accounts.models import User

LONGEST_PASSWORD = 4096
"""Characters. The sign-in form accepts no more, so a longer password could never be used."""


class MaximumLengthValidator:
    def validate(self, password: str, user: User | None = None) -> None:
        if len(password) > LONGEST_PASSWORD:
            raise ValidationError(self.get_help_text(), code="password_too_long")

    def get_help_text(self) -> str:
        return _("The password can have at most %(longest)d characters.") % {"longest": LONGEST_PASSWORD}
