"""Outages of the database and Redis: the search for their cause, and the page that names it (503)."""

from __future__ import annotations

from enum import Enum

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

RETRY_AFTER = 5
"""Seconds after which clients may try again."""


class Outage(Enum):
    """The causes of an outage, in words for all visitors."""

    BUSY = gettext_noop("The portal's database is busy: another program is writing to it.")
    FULL = gettext_noop("The portal's disk is full, so nothing can be saved.")
    READ_ONLY = gettext_noop("The portal's database is read-only at the moment, so nothing can be saved.")
    AWAY = gettext_noop("The portal's database does not answer.")
    OVERLOADED = gettext_noop("Many people are signing in at the moment.")
    REDIS_AWAY = gettext_noop("The portal's store for codes and limits (Redis) does not answer.")


class Overloaded(Exception):
    """Too many requests wait for slow work, such as password hashes."""


SQLITE = {
    "is locked": Outage.BUSY,
    "is full": Outage.FULL,
    "readonly database": Outage.READ_ONLY,
}
"""Parts of SQLite's error messages, and the outages that they mean."""

QUERY_FAULTS = ("no such", "syntax error", "too many", "has no column", "misuse")
"""Parts of SQLite's error messages about a wrong query of the portal, which is not an outage."""

SQLSTATES = {"53100": Outage.FULL, "25006": Outage.READ_ONLY, "55P03": Outage.BUSY}
"""PostgreSQL's codes for disk full, read-only transaction and lock not available (its manual, appendix A)."""


def outage_in(error: BaseException | None) -> Outage | None:
    """Return the outage that caused an exception, or None if the portal's own code caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if found := _outage_of(error):
            return found
        error = error.__cause__ or error.__context__
    return None


def _outage_of(error: BaseException) -> Outage | None:
    if isinstance(error, Overloaded):
        return Outage.OVERLOADED
    # Compare names, because these libraries are imported only if REDIS_URL is set.
    if type(error).__module__.partition(".")[0] in ("redis", "django_redis"):
        return Outage.REDIS_AWAY
    if not isinstance(error, DatabaseError | InterfaceError):
        return None
    state = getattr(error.__cause__, "sqlstate", None)
    if state in SQLSTATES:
        return SQLSTATES[state]
    text = str(error)
    is_fault_of_ours = any(each in text for each in QUERY_FAULTS)
    if is_fault_of_ours or not isinstance(error, OperationalError | InterfaceError):
        return None
    return next((outage for said, outage in SQLITE.items() if said in text), Outage.AWAY)


def render_outage(outage: Outage, reference: str, portal: str = "") -> str:
    """Return the page in the current language. Makes no query.

    `portal` is the portal's origin if another origin shows the page.
    """
    context = {
        "reason": _(outage.value),
        "reference": reference,
        "static": f"{portal}{settings.STATIC_URL}",
        "accent_url": f"{portal}{reverse('brand_accent')}",
        "logo_url": f"{portal}{reverse('brand_logo')}",
        "portal_host": settings.IKD_PORTAL_ORIGIN.partition("://")[2],
    }
    return render_to_string("503.html", context)
