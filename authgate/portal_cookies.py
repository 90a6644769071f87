"""Cookies of the portal's own pages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse

from authgate.cookies import attributes_of


def set_portal_cookie(
    response: HttpResponse, name: str, value: str, *, max_age: int | None, domain: str = ""
) -> None:
    """Set a cookie with the attributes of every cookie of ours. `max_age` is in seconds.

    Without `max_age` it ends with the browser. Raise ValueError for a name whose prefix would not hold.
    """
    is_https: bool = settings.SESSION_COOKIE_SECURE
    attributes = attributes_of(name, is_https=is_https, domain=domain, max_age=max_age)
    response.set_cookie(name, value, **attributes)
