"""Cookies of the portal's own pages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse

from authgate.cookies import attributes_of


def set_portal_cookie(
    response: HttpResponse, name: str, value: str, *, max_age: int | None, domain: str = ""
) -> None:
    """Set a cookie with the attributes that all our cookies have. `max_age` is in seconds.

    Without `max_age`, the cookie ends with the browser session. Raises ValueError if these attributes do not
    fit the prefix of the cookie's name.
    """
    is_https: bool = settings.SESSION_COOKIE_SECURE
    attributes = attributes_of(name, is_https=is_https, domain=domain, max_age=max_age)
    response.set_cookie(name, value, **attributes)
