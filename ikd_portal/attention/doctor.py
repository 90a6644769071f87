"""The doctor's last reports, for the admin's first page."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from authgate.doctor.findings import Level
from authgate.models import DoctorReport
from ikd_portal.attention.matter import NAMED, Matter, named


def _reports() -> Matter | None:
    """Return problems of enabled applications and of the portal itself, failed tests first."""
    problems = DoctorReport.objects.exclude(level=Level.PASS).filter(
        Q(application=None) | Q(application__enabled=True)
    )
    rows = list(problems.order_by("level", "application__name").values_list("level", "application__name"))
    if not rows:
        return None
    names = [name or _("The portal itself") for _level, name in rows[: NAMED + 1]]
    advice = _("The last test found problems: %s. Each has the configuration line that fixes it.")
    return Matter(
        _("Proxy tests"),
        advice % named(names),
        reverse("admin:authgate_application_doctor_of_all"),
        is_serious=any(level == Level.FAIL for level, _name in rows),
    )


LOOKS: tuple[tuple[str, Callable[[], Matter | None]], ...] = (("authgate.run_doctor", _reports),)
"""Pairs: the permission to see a matter, and the function that looks for it."""
