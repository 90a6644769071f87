"""A warning for administrators if the database no longer writes the journal."""

from __future__ import annotations

from django.urls import reverse
from django.utils.translation import gettext as _

from authgate.journal import triggers
from ikd_portal.attention.matter import Matter


def off() -> Matter | None:
    """Return the matter "changes are not journaled", or None if all triggers exist. One query."""
    if not triggers.missing():
        return None
    return Matter(
        _("Changes are not journaled"),
        _("Triggers of the journal are missing in the database. Run manage.py migrate to create them."),
        reverse("admin:authgate_journalentry_changelist"),
        is_serious=True,
    )
