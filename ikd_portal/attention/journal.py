"""The journal among the matters for administrators: whether the database still writes it."""

from __future__ import annotations

from django.urls import reverse
from django.utils.translation import gettext as _

from authgate.journal import triggers
from ikd_portal.attention.matter import Matter


def off() -> Matter | None:
    """Return the matter "changes are not journaled"; None if all triggers are there. One query."""
    if not triggers.missing():
        return None
    return Matter(
        _("Changes are not journaled"),
        _("Triggers of the journal are missing in the database. Run manage.py migrate to create them."),
        reverse("admin:authgate_journalentry_changelist"),
        is_serious=True,
    )
