"""The form field for the end of a membership."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class EndInput(forms.DateTimeInput):
    """The browser's own input for date and time, to the second."""

    input_type = "datetime-local"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"step": "1", **(attrs or {})}, format="%Y-%m-%dT%H:%M:%S")


def _zone() -> str:
    return gettext("In the time zone %s. Without an end, the membership stays until it is removed.") % (
        settings.TIME_ZONE
    )


class EndField(forms.DateTimeField):
    """The end of a membership, in the portal's time zone. It must be in the future, or empty."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("label", _("End of the membership"))
        kwargs.setdefault("help_text", lazy(_zone, str)())
        super().__init__(required=False, widget=EndInput(), **kwargs)

    def clean(self, value: Any) -> datetime | None:
        ends_at: datetime | None = super().clean(value)
        if ends_at is None:
            return None
        if ends_at <= timezone.now():
            raise ValidationError(
                _("The end must be in the future. To end a membership now, remove it."), code="past"
            )
        return ends_at.replace(microsecond=0)
